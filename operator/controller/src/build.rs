//! The objects of an ensemble, each built in a file of its own kind. Pure: no clock, no cluster.

pub mod budget;
pub mod config_map;
pub mod discovery;
pub mod pod_template;
pub mod service_account;
pub mod services;
pub mod stateful_set;
pub mod zoo_cfg;

#[cfg(test)]
mod tests;
