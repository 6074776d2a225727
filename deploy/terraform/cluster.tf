resource "google_container_cluster" "gemma" {
  name       = "gemma"
  location   = var.region
  network    = google_compute_network.gemma.id
  subnetwork = google_compute_subnetwork.gemma.id

  # Pools are resources of their own, so that changing one doesn't touch the cluster.
  remove_default_node_pool = true
  initial_node_count       = 1
  deletion_protection      = true

  networking_mode   = "VPC_NATIVE"
  datapath_provider = "ADVANCED_DATAPATH" # enforces the chart's NetworkPolicy

  ip_allocation_policy {
    cluster_secondary_range_name  = "pods"
    services_secondary_range_name = "services"
  }

  private_cluster_config {
    enable_private_nodes    = true
    enable_private_endpoint = false
    master_ipv4_cidr_block  = "172.16.0.0/28"
  }

  master_authorized_networks_config {
    dynamic "cidr_blocks" {
      for_each = var.administrators
      content {
        display_name = cidr_blocks.key
        cidr_block   = cidr_blocks.value
      }
    }
  }

  workload_identity_config {
    workload_pool = "${var.project}.svc.id.goog"
  }

  release_channel {
    channel = "REGULAR"
  }

  gateway_api_config {
    channel = "CHANNEL_STANDARD"
  }

  monitoring_config {
    enable_components = ["SYSTEM_COMPONENTS"]
    managed_prometheus {
      enabled = true
    }
  }

  addons_config {
    gcs_fuse_csi_driver_config {
      enabled = true
    }
  }
}

resource "google_service_account" "nodes" {
  account_id   = "gemma-nodes"
  display_name = "GKE nodes: logs, metrics and images only"
}

resource "google_project_iam_member" "nodes" {
  for_each = toset(["roles/container.defaultNodeServiceAccount", "roles/artifactregistry.reader"])

  project = var.project
  role    = each.value
  member  = google_service_account.nodes.member
}

resource "google_container_node_pool" "gateway" {
  name     = "gateway"
  cluster  = google_container_cluster.gemma.id
  location = var.region

  autoscaling {
    min_node_count = 1 # in each of the region's zones
    max_node_count = 4
  }

  node_config {
    machine_type    = "e2-standard-4"
    service_account = google_service_account.nodes.email
    oauth_scopes    = ["https://www.googleapis.com/auth/cloud-platform"]

    shielded_instance_config {
      enable_secure_boot = true
    }

    workload_metadata_config {
      mode = "GKE_METADATA"
    }
  }
}

resource "google_container_node_pool" "gpu" {
  name           = "gpu"
  cluster        = google_container_cluster.gemma.id
  location       = var.region
  node_locations = var.gpu_zones

  autoscaling {
    min_node_count = var.gpu_nodes.min
    max_node_count = var.gpu_nodes.max
  }

  node_config {
    machine_type    = var.gpu.machine_type
    spot            = var.spot
    disk_type       = "pd-balanced"
    disk_size_gb    = 200 # vLLM's image is about 10 GB, models come on top
    service_account = google_service_account.nodes.email
    oauth_scopes    = ["https://www.googleapis.com/auth/cloud-platform"]

    guest_accelerator {
      type  = var.gpu.accelerator
      count = var.gpu.count
      gpu_driver_installation_config {
        gpu_driver_version = "LATEST"
      }
    }

    # GKE adds this to every GPU node anyway; named, a plan shows no difference.
    taint {
      key    = "nvidia.com/gpu"
      value  = "present"
      effect = "NO_SCHEDULE"
    }

    workload_metadata_config {
      mode = "GKE_METADATA"
    }
  }
}
