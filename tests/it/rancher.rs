//! The Rancher metadata service, well and ill.
