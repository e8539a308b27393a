//! The admin API: its generated types and, in [`tls`], the mutual TLS that admin and peer connections share.
//!
//! Shared by the server, the operator and the command line, so that none of them can disagree about a field.
//! It never decides anything: the server answers, the operator's plan chooses.

pub mod incoming;
pub mod tls;

/// Types, client and server of `zkensemble.admin.v1`, generated from `proto/admin.proto`.
#[allow(clippy::all, unused_qualifications, rust_2018_idioms)]
pub mod v1 {
    tonic::include_proto!("zkensemble.admin.v1");
}
