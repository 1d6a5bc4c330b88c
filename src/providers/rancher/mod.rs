//! The Rancher 1.x metadata service.
