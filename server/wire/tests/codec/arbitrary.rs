//! Any value of any record.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use zke_wire::*;

pub fn data() -> impl Strategy<Value = Option<Bytes>> {
    option::of(vec(any::<u8>(), 0..40).prop_map(Bytes::from))
}

pub fn acl() -> impl Strategy<Value = Vec<Acl>> {
    let entry = (any::<i32>(), any::<String>(), any::<String>());
    vec(entry.prop_map(|(perms, scheme, id)| Acl { perms, id: Id { scheme, id } }), 0..4)
}

pub fn strings() -> impl Strategy<Value = Vec<String>> {
    vec(any::<String>(), 0..5)
}

prop_compose! {
    pub fn stat()(
        zxids in any::<[i64; 3]>(),
        times in any::<[i64; 2]>(),
        versions in any::<[i32; 3]>(),
        ephemeral_owner: i64,
        data_length: i32,
        num_children: i32,
    ) -> Stat {
        let [czxid, mzxid, pzxid] = zxids.map(Zxid);
        let [ctime_ms, mtime_ms] = times;
        let [version, cversion, aversion] = versions;
        Stat {
            czxid, mzxid, ctime_ms, mtime_ms, version, cversion, aversion,
            ephemeral_owner, data_length, num_children, pzxid,
        }
    }
}

pub fn error_code() -> impl Strategy<Value = ErrorCode> {
    proptest::sample::select(ErrorCode::ALL)
}

pub fn connect_request() -> impl Strategy<Value = ConnectRequest> {
    let numbers = (any::<i32>(), any::<i64>(), any::<i32>(), any::<i64>());
    (numbers, vec(any::<u8>(), 0..20), any::<Option<bool>>()).prop_map(|(numbers, password, read_only)| {
        let (protocol_version, last_zxid_seen, timeout_ms, session_id) = numbers;
        ConnectRequest {
            protocol_version,
            last_zxid_seen: Zxid(last_zxid_seen),
            timeout_ms,
            session_id: SessionId(session_id),
            password: password.into(),
            read_only,
        }
    })
}

pub fn connect_response() -> impl Strategy<Value = ConnectResponse> {
    (any::<i32>(), any::<i64>(), any::<[u8; PASSWORD_LEN]>(), any::<Option<bool>>()).prop_map(
        |(timeout_ms, session_id, password, read_only)| ConnectResponse {
            timeout_ms,
            session_id: SessionId(session_id),
            password,
            read_only,
        },
    )
}

fn write_in_multi() -> BoxedStrategy<Request> {
    let node = || (any::<String>(), data(), acl(), any::<i32>());
    prop_oneof![
        (node(), any::<bool>()).prop_map(|((path, data, acl, flags), with_stat)| Request::Create {
            path,
            data,
            acl,
            flags,
            with_stat
        }),
        node().prop_map(|(path, data, acl, flags)| Request::CreateContainer { path, data, acl, flags }),
        (node(), any::<i64>()).prop_map(|((path, data, acl, flags), ttl_ms)| Request::CreateTtl {
            path,
            data,
            acl,
            flags,
            ttl_ms
        }),
        any::<(String, i32)>().prop_map(|(path, version)| Request::Delete { path, version }),
        any::<(String, i32)>().prop_map(|(path, version)| Request::Check { path, version }),
        (any::<String>(), data(), any::<i32>()).prop_map(|(path, data, version)| Request::SetData {
            path,
            data,
            version
        }),
    ]
    .boxed()
}

fn read_in_multi() -> BoxedStrategy<Request> {
    prop_oneof![
        any::<(String, bool)>().prop_map(|(path, watch)| Request::GetData { path, watch }),
        any::<(String, bool)>().prop_map(|(path, watch)| Request::GetChildren {
            path,
            watch,
            with_stat: false
        }),
    ]
    .boxed()
}

fn watches() -> BoxedStrategy<Request> {
    let lists = || (strings(), strings(), strings());
    prop_oneof![
        (any::<i64>(), lists()).prop_map(|(zxid, (data, exist, child))| Request::SetWatches {
            relative_zxid: Zxid(zxid),
            data,
            exist,
            child
        }),
        (any::<i64>(), lists(), strings(), strings()).prop_map(
            |(zxid, (data, exist, child), persistent, persistent_recursive)| Request::SetWatches2 {
                relative_zxid: Zxid(zxid),
                data,
                exist,
                child,
                persistent,
                persistent_recursive,
            }
        ),
        any::<(String, i32)>().prop_map(|(path, mode)| Request::AddWatch { path, mode }),
        any::<(String, i32)>().prop_map(|(path, kind)| Request::CheckWatches { path, kind }),
        any::<(String, i32)>().prop_map(|(path, kind)| Request::RemoveWatches { path, kind }),
    ]
    .boxed()
}

fn other_request() -> BoxedStrategy<Request> {
    let servers = || any::<Option<String>>();
    prop_oneof![
        any::<(String, bool)>().prop_map(|(path, watch)| Request::Exists { path, watch }),
        any::<(String, bool)>().prop_map(|(path, watch)| Request::GetChildren {
            path,
            watch,
            with_stat: true
        }),
        any::<String>().prop_map(|path| Request::GetAcl { path }),
        any::<String>().prop_map(|path| Request::GetAllChildrenNumber { path }),
        any::<String>().prop_map(|path| Request::Sync { path }),
        any::<Option<String>>().prop_map(|prefix| Request::GetEphemerals { prefix }),
        (any::<String>(), acl(), any::<i32>()).prop_map(|(path, acl, version)| Request::SetAcl {
            path,
            acl,
            version
        }),
        (servers(), servers(), servers(), any::<i64>()).prop_map(
            |(joining, leaving, new_members, config_id)| Request::Reconfig {
                joining,
                leaving,
                new_members,
                config_id
            }
        ),
        (any::<String>(), data())
            .prop_map(|(scheme, auth)| Request::Auth { scheme, auth: auth.unwrap_or_default() }),
        data().prop_map(|token| Request::Sasl { token }),
        proptest::sample::select(vec![Request::Ping, Request::Close, Request::WhoAmI]),
    ]
    .boxed()
}

pub fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        write_in_multi(),
        read_in_multi(),
        watches(),
        other_request(),
        vec(write_in_multi(), 0..5).prop_map(|ops| Request::Multi { ops }),
        vec(read_in_multi(), 0..5).prop_map(|ops| Request::MultiRead { ops }),
    ]
}

fn multi_result() -> impl Strategy<Value = MultiResult> {
    prop_oneof![
        any::<String>().prop_map(|path| MultiResult::Create { path }),
        (any::<String>(), stat()).prop_map(|(path, stat)| MultiResult::Create2 { path, stat }),
        stat().prop_map(|stat| MultiResult::SetData { stat }),
        strings().prop_map(|children| MultiResult::Children { children }),
        (data(), stat()).prop_map(|(data, stat)| MultiResult::Data { data, stat }),
        error_code().prop_map(MultiResult::Error),
        proptest::sample::select(vec![MultiResult::Delete, MultiResult::Check, MultiResult::RolledBack]),
    ]
}

/// A response together with an opcode that it answers.
pub fn response() -> impl Strategy<Value = (OpCode, Response)> {
    let headers_only = [OpCode::Delete, OpCode::Ping, OpCode::CloseSession, OpCode::Auth, OpCode::SetWatches];
    let clients = vec(any::<(String, String)>(), 0..4);
    prop_oneof![
        any::<String>().prop_map(|path| (OpCode::Create, Response::Create { path })),
        (any::<String>(), stat())
            .prop_map(|(path, stat)| (OpCode::Create2, Response::Create2 { path, stat })),
        stat().prop_map(|stat| (OpCode::SetData, Response::Stat(stat))),
        (data(), stat()).prop_map(|(data, stat)| (OpCode::GetData, Response::Data { data, stat })),
        (acl(), stat()).prop_map(|(acl, stat)| (OpCode::GetAcl, Response::Acl { acl, stat })),
        strings().prop_map(|children| (OpCode::GetChildren, Response::Children { children })),
        (strings(), stat())
            .prop_map(|(children, stat)| (OpCode::GetChildren2, Response::Children2 { children, stat })),
        any::<i32>().prop_map(|number| (OpCode::GetAllChildrenNumber, Response::ChildrenNumber(number))),
        strings().prop_map(|paths| (OpCode::GetEphemerals, Response::Ephemerals { paths })),
        any::<String>().prop_map(|path| (OpCode::Sync, Response::Sync { path })),
        vec(multi_result(), 0..5).prop_map(|results| (OpCode::Multi, Response::Multi { results })),
        data().prop_map(|token| (OpCode::Sasl, Response::Sasl { token })),
        clients.prop_map(|clients| {
            let info = |(auth_scheme, user)| ClientInfo { auth_scheme, user };
            (OpCode::WhoAmI, Response::WhoAmI { clients: clients.into_iter().map(info).collect() })
        }),
        Just((OpCode::AddWatch, Response::AddWatch)),
        proptest::sample::select(headers_only.to_vec()).prop_map(|op| (op, Response::Empty)),
        (proptest::sample::select(OpCode::ALL), error_code())
            .prop_map(|(op, code)| (op, Response::Error(code))),
    ]
}
