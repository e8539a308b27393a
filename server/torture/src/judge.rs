//! The end of a run: the tree is read back from every member, and the checker judges the history.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::runtime::Runtime;
use zke_check::History;
use zke_check::event::Event;

use crate::admin::{self, Admin, Tree};
use crate::ensemble::Ensemble;
use crate::record::Record;
use crate::scene::Scene;

/// Members say their digest each so many zxids: so many are used up for one that comes after everything.
const DIGEST_INTERVAL: usize = 128;
/// Sessions that were left behind expire within seconds, and their ephemerals go.
const EQUAL_LIMIT: Duration = Duration::from_secs(40);
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// What a history says.
#[derive(Debug, Default)]
pub struct Judgement {
    pub operations: usize,
    pub findings: Vec<String>,
    /// Where the search for the place of writes of unknown outcome was given up, as the checker says it.
    pub too_hard: Vec<String>,
}

/// Ends the load and writes down what every member has; returns what was wrong already.
pub fn read_back(scene: Scene) -> Result<Vec<String>> {
    let Scene { ensemble, record, runtime, load, .. } = scene;
    let mut findings = load.end(&runtime)?;
    record.note("the load has ended");
    let addresses: Vec<_> =
        (0..ensemble.members()).map(|member| ensemble.network.client_address(member)).collect();
    match equal_tree(&runtime, &addresses) {
        Ok((tree, zxid)) => dump(&record, tree, zxid),
        Err(difference) => findings.push(difference),
    }
    let mut admin = Admin::connect(&runtime, addresses[0])?;
    admin.use_zxids(DIGEST_INTERVAL)?;
    admin.close()?;
    // What was acknowledged is applied everywhere then, and so its digest is there.
    trees(&runtime, &addresses)?;
    findings.extend(digests(&ensemble, &record)?);
    Ok(findings)
}

/// What each member shows, and the newest zxid that any of them told.
fn trees(runtime: &Runtime, members: &[SocketAddr]) -> Result<(Vec<Tree>, i64)> {
    let (mut trees, mut newest) = (Vec::new(), 0);
    for (member, address) in members.iter().enumerate() {
        let read = || format!("read the tree from member {member}");
        let mut admin = Admin::connect(runtime, *address).with_context(read)?;
        trees.push(admin.tree().with_context(read)?);
        newest = newest.max(admin.last_zxid.0);
        admin.close().with_context(read)?;
    }
    Ok((trees, newest))
}

/// The tree that all members show, or how they differ for good.
fn equal_tree(runtime: &Runtime, members: &[SocketAddr]) -> Result<(Tree, i64), String> {
    let begun = Instant::now();
    loop {
        let differs = match trees(runtime, members) {
            Ok((mut trees, zxid)) => match trees.iter().position(|tree| *tree != trees[0]) {
                Some(member) => difference(&trees[0], &trees[member], member),
                None if trees[0].nodes.values().all(|(_, stat)| stat.ephemeral_owner == 0) => {
                    return Ok((trees.swap_remove(0), zxid));
                }
                None => "an ephemeral of a session that nobody holds does not go".to_owned(),
            },
            // Nodes go with their sessions while they are read.
            Err(error) => format!("{error:#}"),
        };
        if begun.elapsed() > EQUAL_LIMIT {
            return Err(format!("EQ: {differs}"));
        }
        sleep(LOOK_INTERVAL);
    }
}

fn difference(first: &Tree, other: &Tree, member: usize) -> String {
    let paths = first.nodes.keys().chain(other.nodes.keys());
    let differing = paths.filter(|path| first.nodes.get(*path) != other.nodes.get(*path)).take(3);
    let shown: Vec<String> = differing
        .map(|path| format!("{path}: {:?} and {:?}", first.nodes.get(path), other.nodes.get(path)))
        .collect();
    format!("members 0 and {member} show different trees: {}", shown.join("; "))
}

fn dump(record: &Arc<Record>, tree: Tree, zxid: i64) {
    let nodes = tree.nodes.len();
    for (path, (data, stat)) in tree.nodes {
        record.saw(Event::Node { path, data: Some(data.into()), stat });
    }
    record.saw(Event::Dump { at_us: record.now_us(), zxid, roots: vec!["/".to_owned()], nodes });
}

/// For EQ: what each member says of its whole state. They have to have said something of the same zxid.
fn digests(ensemble: &Ensemble, record: &Arc<Record>) -> Result<Option<String>> {
    let mut newest = Vec::new();
    for member in 0..ensemble.members() {
        let digests = admin::digests(ensemble.network.http_address(member))?;
        newest.push(digests.last().map(|digest| digest.zxid));
        for digest in digests {
            record.saw(Event::Member {
                at_us: record.now_us(),
                member: format!("m{member}"),
                zxid: digest.zxid,
                index: None,
                digest: format!("{:016x}", digest.digest),
            });
        }
    }
    let same = newest[0].is_some() && newest.iter().all(|zxid| *zxid == newest[0]);
    Ok((!same).then(|| format!("EQ: the members' newest digests are of different zxids: {newest:x?}")))
}

/// Asks the checker.
pub fn judge(events: Vec<Event>) -> Judgement {
    let history = match History::of(events) {
        Ok(history) => history,
        Err(error) => {
            let findings = vec![format!("the history cannot be read: {error}")];
            return Judgement { findings, ..Judgement::default() };
        }
    };
    let report = zke_check::check(&history, &zke_check::Options::default());
    let told = report.findings.iter().map(|finding| format!("{}: {}", finding.oracle, finding.message));
    Judgement {
        operations: report.figures.operations,
        findings: told.collect(),
        too_hard: report.too_hard.clone(),
    }
}
