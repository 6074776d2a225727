# Pods take these identities by Workload Identity: no key file exists anywhere.
locals {
  accounts = {
    gateway = "gemma-gateway" # Kubernetes service accounts of the Helm release
    engine  = "gemma-gateway-engine"
  }
}

resource "google_service_account" "workload" {
  for_each = local.accounts

  account_id   = each.value
  display_name = "Gemma ${each.key}"
}

resource "google_service_account_iam_member" "workload" {
  for_each = local.accounts

  service_account_id = google_service_account.workload[each.key].name
  role               = "roles/iam.workloadIdentityUser"
  member             = "serviceAccount:${var.project}.svc.id.goog[${var.namespace}/${each.value}]"

  depends_on = [google_container_cluster.gemma] # the pool exists once a cluster has it
}

# The gateway reads its secrets. Both read models: on Cloud Run the engine runs in the gateway.
resource "google_secret_manager_secret_iam_member" "gateway" {
  for_each = google_secret_manager_secret.redis

  secret_id = each.value.id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.workload["gateway"].member
}

resource "google_storage_bucket" "models" {
  name                        = "${var.project}-gemma-models"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
}

resource "google_storage_bucket_iam_member" "models" {
  for_each = google_service_account.workload

  bucket = google_storage_bucket.models.name
  role   = "roles/storage.objectViewer"
  member = each.value.member
}
