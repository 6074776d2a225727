resource "google_compute_network" "gemma" {
  name                    = "gemma"
  auto_create_subnetworks = false
}

resource "google_compute_subnetwork" "gemma" {
  name                     = "gemma"
  network                  = google_compute_network.gemma.id
  ip_cidr_range            = "10.10.0.0/20"
  private_ip_google_access = true

  secondary_ip_range {
    range_name    = "pods"
    ip_cidr_range = "10.20.0.0/16"
  }

  secondary_ip_range {
    range_name    = "services"
    ip_cidr_range = "10.30.0.0/20"
  }
}

# For regional load balancers with Envoy (Gateway API, Inference Gateway).
resource "google_compute_subnetwork" "proxies" {
  name          = "gemma-proxies"
  network       = google_compute_network.gemma.id
  ip_cidr_range = "10.40.0.0/23"
  purpose       = "REGIONAL_MANAGED_PROXY"
  role          = "ACTIVE"
}

# Nodes have no public address; this lets them fetch models from outside Google.
resource "google_compute_router" "gemma" {
  name    = "gemma"
  network = google_compute_network.gemma.id
}

resource "google_compute_router_nat" "gemma" {
  name                               = "gemma"
  router                             = google_compute_router.gemma.name
  nat_ip_allocate_option             = "AUTO_ONLY"
  source_subnetwork_ip_ranges_to_nat = "ALL_SUBNETWORKS_ALL_IP_RANGES"
}

# Memorystore lives in Google's network, peered with ours over this range.
resource "google_compute_global_address" "services" {
  name          = "gemma-private-services"
  network       = google_compute_network.gemma.id
  purpose       = "VPC_PEERING"
  address_type  = "INTERNAL"
  prefix_length = 20
}

resource "google_service_networking_connection" "services" {
  network                 = google_compute_network.gemma.id
  service                 = "servicenetworking.googleapis.com"
  reserved_peering_ranges = [google_compute_global_address.services.name]
}
