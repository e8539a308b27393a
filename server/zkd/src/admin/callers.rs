//! Who may call what, over the network. On the unix socket the file system decides.

/// The calls of the admin API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Status,
    LeaderStatus,
    Bootstrap,
    Join,
    TakeControl,
    AddLearner,
    ChangeVoters,
    TransferLeadership,
    SetServing,
    Snapshot,
    Restore,
}

/// Whether a caller with this identity may call `method`. `prefix` is `zkensemble://<namespace>/<ensemble>/`.
///
/// A job that reads all data cannot change any, and one that fills a blank disk cannot read others. Members have no
/// business here: what they say to each other goes over the peer port.
pub(super) fn may_call(prefix: &str, caller: Option<&str>, method: Method) -> bool {
    match caller.and_then(|uri| uri.strip_prefix(prefix)) {
        Some("operator") => true,
        Some("backup") => matches!(method, Method::Snapshot | Method::Status),
        Some("restore") => matches!(method, Method::Restore | Method::Status),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Method::{
        AddLearner, Bootstrap, ChangeVoters, Join, LeaderStatus, Restore, SetServing, Snapshot, Status,
        TakeControl, TransferLeadership,
    };

    const ALL: [Method; 11] = [
        Status,
        LeaderStatus,
        Bootstrap,
        Join,
        TakeControl,
        AddLearner,
        ChangeVoters,
        TransferLeadership,
        SetServing,
        Snapshot,
        Restore,
    ];

    #[test]
    fn each_identity_may_call_what_it_is_for_and_nothing_else() {
        let own = |name: &str| Some(format!("zkensemble://prod/kafka/{name}"));
        let table: [(Option<String>, &[Method]); 12] = [
            (own("operator"), &ALL),
            (own("backup"), &[Snapshot, Status]),
            (own("restore"), &[Restore, Status]),
            (own("kafka-0"), &[]),
            (own(""), &[]),
            (own("operator/"), &[]),
            (own("Operator"), &[]),
            (own("backup-0"), &[]),
            (Some("zkensemble://prod/kafka2/operator".to_owned()), &[]),
            (Some("zkensemble://other/kafka/restore".to_owned()), &[]),
            (Some("operator".to_owned()), &[]),
            (None, &[]),
        ];
        for (caller, allowed) in table {
            for method in ALL {
                let may = may_call("zkensemble://prod/kafka/", caller.as_deref(), method);
                assert_eq!(may, allowed.contains(&method), "{caller:?} and {method:?}");
            }
        }
    }
}
