//! The integration tests: one binary, linked once.

mod harness;

mod access;
mod access_log;
mod admin;
mod balance;
mod browser;
mod catalog;
mod chaos;
mod check;
mod cli;
mod demo;
mod docker;
mod docs;
mod end_to_end;
mod files;
mod framing;
mod headers;
mod health;
mod http1;
mod incremental;
mod labels;
mod layers;
mod licences;
mod limits;
mod metrics;
mod proxy;
mod quickstart;
mod rancher;
mod rancher_api;
mod render;
mod resilience;
mod settings;
mod streams;
mod swap;
mod tracing;
