variable "project" {
  description = "Google Cloud project ID."
  type        = string
}

variable "region" {
  description = "Region of the cluster, Memorystore and the images."
  type        = string
  default     = "us-central1"
}

variable "gpu_zones" {
  description = "Zones of the region that have the GPU."
  type        = list(string)
  default     = ["us-central1-a", "us-central1-b"]

  validation {
    condition     = length(var.gpu_zones) > 0
    error_message = "Name at least one zone that has the GPU."
  }
}

variable "gpu" {
  description = "GPU of an engine: machine type, accelerator type and count."
  type = object({
    machine_type = string
    accelerator  = string
    count        = number
  })
  default = {
    machine_type = "g2-standard-8"
    accelerator  = "nvidia-l4"
    count        = 1
  }
}

variable "gpu_nodes" {
  description = "Fewest and most GPU nodes in each zone. Each costs money while it runs."
  type        = object({ min = number, max = number })
  default     = { min = 0, max = 2 }

  validation {
    condition     = var.gpu_nodes.min >= 0 && var.gpu_nodes.max >= var.gpu_nodes.min
    error_message = "gpu_nodes.max must be at least gpu_nodes.min."
  }
}

variable "spot" {
  description = "Use Spot VMs for GPUs: far cheaper, taken away with 30 seconds' notice."
  type        = bool
  default     = false
}

variable "redis_memory_gb" {
  description = "Memorystore's memory. docs/scaling.md says how much a number of keys needs."
  type        = number
  default     = 5
}

variable "administrators" {
  description = "CIDR ranges that may reach the cluster's control plane, by name."
  type        = map(string)

  validation {
    condition     = !contains(values(var.administrators), "0.0.0.0/0")
    error_message = "The control plane must not be open to everybody."
  }
}

variable "namespace" {
  description = "Kubernetes namespace of the Helm release."
  type        = string
  default     = "gemma"
}
