output "credentials" {
  description = "Command that points kubectl at the cluster."
  value       = "gcloud container clusters get-credentials ${google_container_cluster.gemma.name} --region ${var.region} --project ${var.project}"
}

output "service_accounts" {
  description = "For the chart's iam.gke.io/gcp-service-account annotations."
  value       = { for name, account in google_service_account.workload : name => account.email }
}

output "images" {
  description = "Where to push the images."
  value       = "${var.region}-docker.pkg.dev/${var.project}/${google_artifact_registry_repository.images.repository_id}"
}

output "redis_url" {
  description = "For the chart's Redis secret; holds the password."
  value       = local.redis_url
  sensitive   = true
}

output "redis_ca" {
  description = "Memorystore's CA, for the chart's Redis secret."
  value       = join("\n", google_redis_instance.limits.server_ca_certs[*].cert)
}
