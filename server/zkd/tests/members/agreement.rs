//! A member in whose memory a bit flips.

use crate::members::Members;
use crate::raw::{self, Raw};

/// Behind which entry it flips, and what comes after it: each write is an entry, and members compare every 256th.
const DAMAGE_AT: &str = "700";
const WRITES: usize = 1_200;

#[test]
fn a_member_with_another_state_ends_says_why_and_does_not_start_again() {
    let mut members = Members::start();
    let wrong = (members.leader() + 1) % 3;
    members.kill(wrong);
    members.start_in(wrong, [("ZKE_DAMAGE_AT", DAMAGE_AT)]);
    members.wait_serving(wrong);
    let (mut client, _) = Raw::connect(members.client(members.leader()));
    client.call(raw::create("/n", "", 0)).unwrap();
    for write in 0..WRITES {
        client.call(raw::set("/n", &write.to_string())).unwrap();
    }
    let status = members.wait_end(wrong);
    let said = members.log(wrong);
    assert!(!status.success() && said.contains("has another state than this one"), "{status}; {said}");

    members.start_again(wrong);
    let status = members.wait_end(wrong);
    let said = members.log(wrong).split_off(said.len());
    assert!(!status.success() && said.contains("identity is corrupt"), "{status}; {said}");
    client.call(raw::set("/n", "the others serve on")).unwrap();
}
