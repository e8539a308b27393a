//! A real Kubernetes on this machine, and what the end-to-end tests need to drive it.
//!
//! Three nodes with the real API server, scheduler, controllers, kubelets, containerd and runc, real volumes and
//! real Helm; no virtual machine, no Docker, no download of a ready-made cluster. Everything runs below one
//! process in its own network, mount and process namespaces: when that process ends, the cluster is gone.
//!
//! It promises that [`cluster::Cluster::down`] leaves nothing behind, however the cluster ended. It never listens on
//! an address that another machine can reach, and never touches a cluster that it did not start.

pub mod cgroup;
pub mod checkout;
pub mod clients;
pub mod cluster;
pub mod control_plane;
pub mod document;
pub mod ensemble;
pub mod go;
pub mod host_link;
pub mod image;
pub mod inside;
pub mod java;
pub mod kazoo;
pub mod kubectl;
pub mod local_ensemble;
pub mod network;
pub mod node;
pub mod packages;
pub mod pki;
pub mod ports;
pub mod preflight;
pub mod program;
pub mod progress;
pub mod python;
pub mod scenario;
pub mod supervisor;
