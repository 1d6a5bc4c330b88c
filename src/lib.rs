//! Herder: an active load balancer for Docker and Rancher. Label a container and it is on the air.
//!
//! Data flows one way: providers fetch a [`model::Snapshot`], dialects read it into [`config::Fragment`]s, the
//! plan settles them into one [`config::Config`], which is compiled into a [`table::Table`] and published to the
//! workers. [`live::Live`] holds what is measured, and outlives every table. `ARCHITECTURE.md` is the map.

pub mod admin;
pub mod balance;
pub mod cli;
pub mod config;
pub mod control;
pub mod demo;
pub mod dialects;
pub mod disk;
pub mod document;
pub mod explain;
pub mod live;
pub mod middleware;
pub mod model;
pub mod plan;
pub mod providers;
pub mod proxy;
pub mod rules;
pub mod settings;
pub mod table;
pub mod telemetry;
pub mod tls;
