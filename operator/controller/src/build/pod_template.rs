//! The pods' template: it holds only what the user asked for, so that a new operator changes no pod.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EnvVar, EnvVarSource,
    HTTPGetAction, ObjectFieldSelector, PodAffinityTerm, PodAntiAffinity, PodSecurityContext, PodSpec,
    PodTemplateSpec, Probe, ResourceRequirements, SeccompProfile, SecretVolumeSource, SecurityContext,
    TopologySpreadConstraint, Volume, VolumeMount, WeightedPodAffinityTerm,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use zke_api::{AntiAffinity, RESTARTED_AT_ANNOTATION, Spread};

use crate::build::zoo_cfg::ZooCfg;
use crate::ensemble::Ensemble;
use crate::names::{ADMIN_PORT, CLIENT_PORT, HTTP_PORT, PEER_PORT};

pub const DATA_PATH: &str = "/var/lib/zkd";
/// Not below the configuration's folder: a mount inside a read-only volume has nowhere to make its mount point.
pub const TLS_PATH: &str = "/etc/zkd-tls";
const CONFIG_PATH: &str = "/etc/zkd";
const CONFIG_HASH_ANNOTATION: &str = "zkensemble.dev/config-hash";
pub const USER_ID: i64 = 10_001;
/// Draining ends after 2 s; the rest is for a slow last flush.
pub const TERMINATION_GRACE_PERIOD_S: i64 = 30;

pub fn template(ensemble: &Ensemble, config: &ZooCfg) -> PodTemplateSpec {
    let scheduling = &ensemble.spec.scheduling;
    let pull_secrets = ensemble.spec.image.pull_secrets.clone();
    let mut annotations = BTreeMap::from([(CONFIG_HASH_ANNOTATION.to_owned(), config.hash.clone())]);
    if let Some(at) = &ensemble.restarted_at {
        annotations.insert(RESTARTED_AT_ANNOTATION.to_owned(), at.clone());
    }
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(ensemble.names.labels()),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            containers: vec![container(ensemble)],
            volumes: Some(volumes(ensemble, config)),
            service_account_name: Some(ensemble.names.service_account()),
            automount_service_account_token: Some(false),
            // Variables named after Services could be read as ZooKeeper settings.
            enable_service_links: Some(false),
            termination_grace_period_seconds: Some(TERMINATION_GRACE_PERIOD_S),
            image_pull_secrets: (!pull_secrets.is_empty()).then_some(pull_secrets),
            security_context: Some(PodSecurityContext {
                run_as_non_root: Some(true),
                run_as_user: Some(USER_ID),
                run_as_group: Some(USER_ID),
                fs_group: Some(USER_ID),
                fs_group_change_policy: Some("OnRootMismatch".to_owned()),
                seccomp_profile: Some(SeccompProfile {
                    type_: "RuntimeDefault".to_owned(),
                    ..SeccompProfile::default()
                }),
                ..PodSecurityContext::default()
            }),
            affinity: Some(affinity(ensemble)),
            topology_spread_constraints: spread(ensemble),
            priority_class_name: scheduling.priority_class_name.clone(),
            tolerations: (!scheduling.tolerations.is_empty()).then(|| scheduling.tolerations.clone()),
            node_selector: (!scheduling.node_selector.is_empty()).then(|| scheduling.node_selector.clone()),
            ..PodSpec::default()
        }),
    }
}

fn container(ensemble: &Ensemble) -> Container {
    let ports = [CLIENT_PORT, PEER_PORT, ADMIN_PORT, HTTP_PORT];
    let resources = &ensemble.spec.resources;
    let quantities = |amounts: &BTreeMap<String, zke_api::Quantity>| {
        let amounts = amounts.iter().map(|(name, amount)| (name.clone(), amount.into()));
        Some(amounts.collect()).filter(|amounts: &BTreeMap<_, _>| !amounts.is_empty())
    };
    Container {
        name: "zkd".to_owned(),
        image: Some(ensemble.image()),
        image_pull_policy: ensemble.spec.image.pull_policy.map(|policy| format!("{policy:?}")),
        command: Some(["zkd", "--config", "/etc/zkd/zoo.cfg"].map(str::to_owned).to_vec()),
        env: Some(vec![
            from_field("POD_NAME", "metadata.name"),
            from_field("POD_NAMESPACE", "metadata.namespace"),
            variable("RUST_LOG", log_filter(ensemble)),
            variable("ZKD_LOG", log_format(ensemble)),
        ]),
        ports: Some(
            ports
                .into_iter()
                .map(|(name, port)| ContainerPort {
                    name: Some(name.to_owned()),
                    container_port: port,
                    protocol: Some("TCP".to_owned()),
                    ..ContainerPort::default()
                })
                .collect(),
        ),
        // Reading a large log back takes its time; the other probes wait until this one has succeeded.
        startup_probe: Some(Probe { failure_threshold: Some(300), ..probe("/livez", 2) }),
        liveness_probe: Some(Probe { timeout_seconds: Some(5), ..probe("/livez", 10) }),
        readiness_probe: Some(Probe { failure_threshold: Some(2), ..probe("/readyz", 2) }),
        resources: Some(ResourceRequirements {
            requests: quantities(&resources.requests),
            limits: quantities(&resources.limits),
            ..ResourceRequirements::default()
        }),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                ..Capabilities::default()
            }),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(vec![
            mount("data", DATA_PATH, false),
            mount("config", CONFIG_PATH, true),
            mount("tls", TLS_PATH, true),
        ]),
        ..Container::default()
    }
}

fn volumes(ensemble: &Ensemble, config: &ZooCfg) -> Vec<Volume> {
    vec![
        Volume {
            name: "config".to_owned(),
            config_map: Some(ConfigMapVolumeSource {
                name: ensemble.names.config_map(&config.hash),
                ..ConfigMapVolumeSource::default()
            }),
            ..Volume::default()
        },
        // Mounted whole and never by subPath, or renewed certificates would not arrive.
        Volume {
            name: "tls".to_owned(),
            secret: Some(SecretVolumeSource {
                secret_name: Some(ensemble.names.peer_tls_secret()),
                default_mode: Some(0o440),
                ..SecretVolumeSource::default()
            }),
            ..Volume::default()
        },
    ]
}

fn affinity(ensemble: &Ensemble) -> Affinity {
    let term = PodAffinityTerm {
        label_selector: Some(selector(ensemble)),
        topology_key: "kubernetes.io/hostname".to_owned(),
        ..PodAffinityTerm::default()
    };
    let rule = match ensemble.spec.scheduling.anti_affinity {
        AntiAffinity::Required => PodAntiAffinity {
            required_during_scheduling_ignored_during_execution: Some(vec![term]),
            ..PodAntiAffinity::default()
        },
        AntiAffinity::Preferred => PodAntiAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(vec![WeightedPodAffinityTerm {
                weight: 100,
                pod_affinity_term: term,
            }]),
            ..PodAntiAffinity::default()
        },
    };
    Affinity { pod_anti_affinity: Some(rule), ..Affinity::default() }
}

fn spread(ensemble: &Ensemble) -> Option<Vec<TopologySpreadConstraint>> {
    let scheduling = &ensemble.spec.scheduling;
    if !scheduling.topology_spread_constraints.is_empty() {
        return Some(scheduling.topology_spread_constraints.clone());
    }
    let topology_key = match scheduling.spread {
        Spread::Zone => "topology.kubernetes.io/zone",
        Spread::Node => "kubernetes.io/hostname",
        Spread::Anywhere => return None,
    };
    Some(vec![TopologySpreadConstraint {
        max_skew: 1,
        topology_key: topology_key.to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        label_selector: Some(selector(ensemble)),
        ..TopologySpreadConstraint::default()
    }])
}

pub fn selector(ensemble: &Ensemble) -> LabelSelector {
    LabelSelector { match_labels: Some(ensemble.names.selector()), ..LabelSelector::default() }
}

fn probe(path: &str, period_s: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(HTTP_PORT.0.to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_s),
        timeout_seconds: Some(2),
        failure_threshold: Some(3),
        ..Probe::default()
    }
}

fn mount(name: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}

/// The chosen level for our own parts; the libraries below speak up only about what is wrong.
fn log_filter(ensemble: &Ensemble) -> String {
    let level = format!("{:?}", ensemble.spec.server.logging.level).to_lowercase();
    format!("{level},openraft=error,h2=error,hyper=error,tonic=error,rustls=error")
}

fn log_format(ensemble: &Ensemble) -> String {
    format!("{:?}", ensemble.spec.server.logging.format).to_lowercase()
}

fn variable(name: &str, value: String) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value), ..EnvVar::default() }
}

fn from_field(name: &str, path: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                field_path: path.to_owned(),
                ..ObjectFieldSelector::default()
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
}
