//! The Service that gives pods their host names, and the one that clients use.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use zke_api::ClientServiceType;

use crate::ensemble::Ensemble;
use crate::names::{ADMIN_PORT, CLIENT_PORT, HTTP_PORT, PEER_PORT};

/// Publishes pods that are not ready too: members must find each other before any of them can become ready.
pub fn headless(ensemble: &Ensemble) -> Service {
    let ports = [CLIENT_PORT, PEER_PORT, ADMIN_PORT, HTTP_PORT];
    Service {
        metadata: ensemble.metadata(ensemble.names.headless_service()),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            publish_not_ready_addresses: Some(true),
            selector: Some(ensemble.names.selector()),
            ports: Some(ports.into_iter().map(|port| service_port(port, port.1)).collect()),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

pub fn client(ensemble: &Ensemble) -> Service {
    let client = &ensemble.spec.services.client;
    let mut metadata = ensemble.metadata(ensemble.names.client_service());
    metadata.annotations = Some(client.annotations.clone()).filter(|annotations| !annotations.is_empty());
    let type_ = match client.type_ {
        ClientServiceType::ClusterIP => "ClusterIP",
        ClientServiceType::NodePort => "NodePort",
        ClientServiceType::LoadBalancer => "LoadBalancer",
    };
    Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some(type_.to_owned()),
            selector: Some(ensemble.names.selector()),
            ports: Some(vec![service_port(CLIENT_PORT, i32::from(client.port))]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

fn service_port((name, _): (&str, i32), port: i32) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port,
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::String(name.to_owned())),
        ..ServicePort::default()
    }
}
