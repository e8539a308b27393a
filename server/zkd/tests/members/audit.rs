//! The audit log of real processes.

use std::time::{Duration, Instant};

use zke_wire::{ErrorCode, Request};

use crate::members::Members;
use crate::raw::{self, Raw};

/// The lines of all members that hold `text`, once there are some.
fn lines(members: &Members, text: &str) -> Vec<String> {
    let begun = Instant::now();
    loop {
        let logs: Vec<String> = (0..3).map(|member| members.log(member)).collect();
        let found: Vec<String> = logs
            .iter()
            .flat_map(|log| log.lines())
            .filter(|line| line.contains(text))
            .map(str::to_owned)
            .collect();
        if !found.is_empty() || begun.elapsed() > Duration::from_secs(5) {
            return found;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn each_change_is_a_line_on_the_member_of_its_client() {
    let mut members = Members::start_configured("audit.enable=true\n");
    let (mut client, granted) = Raw::connect(members.client(1));
    let auth = bytes::Bytes::from_static(b"ann:s3cret");
    client.call(Request::Auth { scheme: "digest".to_owned(), auth }).unwrap();
    client.call(raw::create("/audited", "", 1)).unwrap();
    assert_eq!(
        client.call(raw::create("/forged\n\u{1b}[2Jresult=success", "", 0)),
        Err(ErrorCode::BadArguments)
    );
    client.call(raw::get("/audited")).unwrap();
    client.call(Request::Close).unwrap();
    let who = format!("session=0x{:x}\tuser=ann\tip=127.0.0.1\t", granted.session_id.0);
    let created = format!("{who}operation=create\tznode=/audited\tznode_type=ephemeral\tresult=success");
    assert_eq!(lines(&members, &created).len(), 1, "{:?}", lines(&members, "audit"));
    let forged = "znode=/forged\\n\\u{1b}[2Jresult=success\tznode_type=persistent\tresult=failure";
    assert_eq!(lines(&members, forged).len(), 1, "{:?}", lines(&members, "forged"));
    let gone = "operation=ephemeralZNodeDeletionOnSessionCloseOrExpire\tznode=/audited\tresult=success";
    assert_eq!(lines(&members, gone).len(), 1);
    assert_eq!(lines(&members, "operation=serverStart").len(), 3);
    members.terminate(1);
    assert!(members.log(1).contains("\toperation=serverStop\tresult=success"));
    assert!((0..3).all(|member| !members.log(member).contains("s3cret")));
}
