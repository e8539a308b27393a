//! EQ: members that applied the same have the same digest.

use std::collections::HashMap;

use crate::history::History;

#[derive(Debug, thiserror::Error)]
#[error("members {one} and {other} differ at zxid {zxid:#x}{at}: digests {digest} and {other_digest}")]
pub(crate) struct Fault {
    one: String,
    other: String,
    zxid: i64,
    at: String,
    digest: String,
    other_digest: String,
}

pub(crate) fn check(history: &History) -> Vec<Fault> {
    let mut first = HashMap::new();
    let mut faults = Vec::new();
    for member in &history.members {
        // A digest may cover the log index too, so only what is alike in both is compared.
        let place = (member.zxid, member.index);
        let known = *first.entry(place).or_insert(member);
        if known.digest != member.digest {
            faults.push(Fault {
                one: known.name.clone(),
                other: member.name.clone(),
                zxid: member.zxid,
                at: member.index.map_or_else(String::new, |index| format!(", log index {index}")),
                digest: known.digest.clone(),
                other_digest: member.digest.clone(),
            });
        }
    }
    faults
}
