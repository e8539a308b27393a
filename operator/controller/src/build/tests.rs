//! Objects as they are rendered, against `golden.yaml`: a name, selector or label that changes there would make a
//! second object, or a StatefulSet that the API server refuses, in every cluster that upgrades.

use zke_api::ZkEnsemble;

use super::*;
use crate::ensemble::Ensemble;
use crate::template::WantedTemplate;

/// Named unlike anything else here, so that a swapped name shows.
const MANIFEST: &str = r#"
apiVersion: zkensemble.dev/v1alpha1
kind: ZkEnsemble
metadata: {name: shop, namespace: retail, uid: 11111111-2222-3333-4444-555555555555, generation: 4}
spec:
  replicas: 3
  version: 9.8.7
  storage: {size: 5Gi, storageClassName: fast, claimMetadata: {annotations: {team: orders}}}
  resources: {requests: {cpu: 250m, memory: 512Mi}, limits: {memory: 512Mi}}
  server: {session: {minTimeout: 3s}, limits: {maxRequestBytes: 2Mi}}
"#;

fn ensemble(manifest: &str) -> Ensemble {
    Ensemble::resolve(serde_saphyr::from_str::<ZkEnsemble>(manifest).unwrap())
}

fn template(ensemble: &Ensemble) -> WantedTemplate {
    WantedTemplate::of_spec(ensemble, &zoo_cfg::render(ensemble))
}

fn render(ensemble: &Ensemble) -> String {
    let config = zoo_cfg::render(ensemble);
    let documents = [
        serde_saphyr::to_string(&service_account::service_account(ensemble)),
        serde_saphyr::to_string(&config_map::config_map(ensemble, &config)),
        serde_saphyr::to_string(&discovery::discovery(ensemble)),
        serde_saphyr::to_string(&services::headless(ensemble)),
        serde_saphyr::to_string(&services::client(ensemble)),
        serde_saphyr::to_string(&budget::budget(ensemble, 2)),
        serde_saphyr::to_string(&stateful_set::stateful_set(ensemble, &template(ensemble), 3, None)),
    ];
    documents.map(Result::unwrap).join("---\n")
}

#[test]
fn objects_are_what_they_have_always_been() {
    let rendered = render(&ensemble(MANIFEST));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/build/golden.yaml");
    if std::env::var_os("ZKE_BLESS").is_some() {
        std::fs::write(path, &rendered).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap();
    assert!(
        rendered == golden,
        "ZKE_BLESS=1 writes golden.yaml anew; read the difference with care:\n{rendered}"
    );
}

#[test]
fn a_new_operator_asks_for_no_other_pods() {
    let manifest = MANIFEST.replace("  version: 9.8.7\n", "");
    let before = ensemble(&format!("{manifest}status: {{targetVersion: 0.0.1}}\n"));
    assert_eq!(before.image(), "ghcr.io/zkensemble/zkd:0.0.1");
    // One that failed is not the one that it has.
    let failed = ensemble(&format!("{manifest}status: {{targetVersion: 0.0.2, settledVersion: 0.0.1}}\n"));
    assert_eq!(failed.image(), before.image());
    // Without a past, an ensemble gets the operator's own version.
    assert_eq!(ensemble(&manifest).version, env!("CARGO_PKG_VERSION"));
}

#[test]
fn a_digest_wins_over_the_version() {
    let digest = format!("sha256:{}", "ab".repeat(32));
    let manifest = format!("{MANIFEST}  image: {{repository: r.example/zkd, digest: '{digest}'}}\n");
    assert_eq!(ensemble(&manifest).image(), format!("r.example/zkd@{digest}"));
}

#[test]
fn the_hash_follows_the_configuration_and_nothing_else() {
    let hash = |manifest: &str| zoo_cfg::render(&ensemble(manifest)).hash;
    let same = hash(MANIFEST);
    assert_eq!(hash(&MANIFEST.replace("replicas: 3", "replicas: 5").replace("9.8.7", "9.9.0")), same);
    assert_ne!(hash(&MANIFEST.replace("3s", "4s")), same);
}

#[test]
fn claims_of_a_live_set_are_kept_as_they_are() {
    let small = ensemble(MANIFEST);
    let live = stateful_set::stateful_set(&small, &template(&small), 3, None);
    let large = ensemble(&MANIFEST.replace("5Gi", "50Gi"));
    let next = stateful_set::stateful_set(&large, &template(&large), 3, Some(&live));
    let claims = |set: &k8s_openapi::api::apps::v1::StatefulSet| {
        set.spec.as_ref().unwrap().volume_claim_templates.clone().unwrap()
    };
    assert_eq!(claims(&next), claims(&live));
}
