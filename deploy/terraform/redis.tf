# Two nodes in two zones: a failover takes seconds, and the gateways count for themselves meanwhile.
resource "google_redis_instance" "limits" {
  name                    = "gemma-limits"
  region                  = var.region
  tier                    = "STANDARD_HA"
  memory_size_gb          = var.redis_memory_gb
  redis_version           = "REDIS_7_2"
  authorized_network      = google_compute_network.gemma.id
  connect_mode            = "PRIVATE_SERVICE_ACCESS"
  auth_enabled            = true
  transit_encryption_mode = "SERVER_AUTHENTICATION"

  redis_configs = {
    # A full store must refuse, not forget limits: the gateway then counts for itself.
    maxmemory-policy = "noeviction"
  }

  persistence_config {
    persistence_mode    = "RDB"
    rdb_snapshot_period = "ONE_HOUR"
  }

  depends_on = [google_service_networking_connection.services]
}

locals {
  # The certificate names no address, so the CA is checked and the host name isn't.
  redis_url = join("", [
    "rediss://:${google_redis_instance.limits.auth_string}@",
    "${google_redis_instance.limits.host}:${google_redis_instance.limits.port}/0",
    "?ssl_ca_certs=/etc/redis/ca.pem&ssl_check_hostname=false",
  ])
}

resource "google_secret_manager_secret" "redis" {
  for_each = toset(["gemma-redis-url", "gemma-redis-ca"])

  secret_id = each.value
  replication {
    auto {}
  }
}

resource "google_secret_manager_secret_version" "redis_url" {
  secret      = google_secret_manager_secret.redis["gemma-redis-url"].id
  secret_data = local.redis_url
}

resource "google_secret_manager_secret_version" "redis_ca" {
  secret      = google_secret_manager_secret.redis["gemma-redis-ca"].id
  secret_data = join("\n", google_redis_instance.limits.server_ca_certs[*].cert)
}
