terraform {
  required_version = ">= 1.6"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 6.0, < 8.0"
    }
  }

  # The state holds Redis' password: keep it in a bucket that few can read.
  # terraform init -backend-config="bucket=PROJECT-terraform-state"
  backend "gcs" {
    prefix = "gemma-gateway"
  }
}

provider "google" {
  project = var.project
  region  = var.region
}
