//! Bytes seen on the wire between Apache ZooKeeper 3.9 and its clients, and the exact rules that clients rely on.

use bytes::{Bytes, BytesMut};
use zke_wire::*;

fn bytes(hex: &str) -> BytesMut {
    let digits: Vec<char> = hex.chars().filter(|c| !c.is_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).expect("hex"))
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn encoded(encode: impl FnOnce(&mut BytesMut)) -> String {
    let mut out = BytesMut::new();
    encode(&mut out);
    hex(&out)
}

fn decode(op: OpCode, body: &str) -> Result<Request, DecodeError> {
    Request::decode(op, bytes(body).freeze())
}

const NEW_SESSION: &str = "0000002d 00000000 0000000000000000 00007530 0000000000000000
    00000010 00000000000000000000000000000000 00";

fn new_session() -> ConnectRequest {
    ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: Zxid(0),
        timeout_ms: 30_000,
        session_id: SessionId::NONE,
        password: Bytes::from_static(&[0; PASSWORD_LEN]),
        read_only: Some(false),
    }
}

#[test]
fn a_new_session_is_asked_for() {
    let frame =
        FrameDecoder::new(FrameDecoder::DEFAULT_MAX_LEN).first(&mut bytes(NEW_SESSION)).expect("legal");
    let Some(FirstBytes::Frame(body)) = frame else { panic!("no frame: {frame:?}") };
    assert_eq!(body.len(), 45);
    assert_eq!(ConnectRequest::decode(body.clone()), Ok(new_session()));
    let without_read_only = ConnectRequest { read_only: None, ..new_session() };
    assert_eq!(ConnectRequest::decode(body.slice(..44)), Ok(without_read_only));
    assert_eq!(encoded(|out| new_session().encode(out)), hex(&bytes(NEW_SESSION)));
}

#[test]
fn a_null_password_is_an_empty_one() {
    let request = bytes("00000000 0000000000000000 00007530 0000000000000000 ffffffff");
    let request = ConnectRequest::decode(request.freeze()).expect("a connect request");
    assert_eq!((request.password.len(), request.read_only), (0, None));
}

#[test]
fn a_session_is_granted_in_the_length_the_client_asked_in() {
    let password = *b"0123456789abcdef";
    let mut response = ConnectResponse {
        timeout_ms: 4000,
        session_id: SessionId(0x100_0000_0000_0000),
        password,
        read_only: Some(false),
    };
    let body = "00000000 00000fa0 0100000000000000 00000010 30313233343536373839616263646566";
    assert_eq!(encoded(|out| response.encode(out)), hex(&bytes(&format!("00000025 {body} 00"))));
    response.read_only = None;
    assert_eq!(encoded(|out| response.encode(out)), hex(&bytes(&format!("00000024 {body}"))));
}

#[test]
fn a_lost_session_is_answered_with_zeros() {
    let body = "00000000 00000000 0000000000000000 00000010 00000000000000000000000000000000";
    let mut request = ConnectRequest { session_id: SessionId(7), read_only: Some(true), ..new_session() };
    let response = |request: &ConnectRequest| encoded(|out| ConnectResponse::expired(request).encode(out));
    assert_eq!(response(&request), hex(&bytes(&format!("00000025 {body} 00"))));
    request.read_only = None;
    assert_eq!(response(&request), hex(&bytes(&format!("00000024 {body}"))));
}

#[test]
fn a_create_of_a_usual_client() {
    let body =
        "00000002 2f61 00000002 6869 00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65 00000001";
    let request = Request::Create {
        path: "/a".into(),
        data: Some(Bytes::from_static(b"hi")),
        acl: vec![Acl::open()],
        flags: CreateMode::Ephemeral.flags(),
        with_stat: false,
    };
    assert_eq!(decode(OpCode::Create, body), Ok(request.clone()));
    let frame = format!("00000033 00000001 00000001 {body}");
    assert_eq!(encoded(|out| request.encode(1, out)), hex(&bytes(&frame)));
}

#[test]
fn null_and_empty_data_differ_and_a_null_acl_is_an_empty_one() {
    let create = |data: &str| decode(OpCode::Create2, &format!("00000002 2f61 {data} ffffffff 00000000"));
    let Ok(Request::Create { data: None, acl, with_stat: true, .. }) = create("ffffffff") else { panic!() };
    assert_eq!(acl, []);
    let Ok(Request::Create { data: Some(data), .. }) = create("00000000") else { panic!() };
    assert!(data.is_empty());
}

#[test]
fn a_null_path_is_malformed() {
    assert_eq!(decode(OpCode::GetData, "ffffffff 00"), Err(DecodeError::Null { field: "path" }));
    assert_eq!(ErrorCode::from(DecodeError::Null { field: "path" }), ErrorCode::MarshallingError);
}

#[test]
fn a_count_beyond_the_message_is_refused_before_it_is_believed() {
    let result = decode(OpCode::SetWatches, "0000000000000000 7fffffff 00000000");
    assert_eq!(result, Err(DecodeError::Length { field: "dataWatches", length: i32::MAX }));
    let result = decode(OpCode::Delete, "fffffffe");
    assert_eq!(result, Err(DecodeError::Length { field: "path", length: -2 }));
}

#[test]
fn bytes_behind_a_record_are_ignored() {
    let delete = Request::Delete { path: "/a".into(), version: -1 };
    assert_eq!(decode(OpCode::Delete, "00000002 2f61 ffffffff deadbeef"), Ok(delete));
}

#[test]
fn text_is_utf_8_or_what_java_makes_of_it() {
    let path = |hex: &str| match decode(OpCode::Sync, hex) {
        Ok(Request::Sync { path }) => Some(path),
        Err(DecodeError::Text { field: "path" }) => None,
        other => panic!("{other:?}"),
    };
    assert_eq!(path("00000004 f09f9880").as_deref(), Some("😀"));
    assert_eq!(path("00000006 eda0bdedb880").as_deref(), Some("😀"), "two surrogates of three bytes");
    assert_eq!(path("00000008 61eda0bdedb88062").as_deref(), Some("a😀b"));
    assert_eq!(path("00000003 eda0bd"), None, "half a pair");
    assert_eq!(path("00000006 edb880eda0bd"), None, "a pair the wrong way round");
    assert_eq!(path("00000002 c3ff"), None);
}

#[test]
fn a_multi_ends_with_its_end_mark_and_holds_writes_only() {
    let end = "ffffffff 01 ffffffff";
    let check = "0000000d 00 ffffffff 00000002 2f61 00000003";
    let ops = vec![Request::Check { path: "/a".into(), version: 3 }];
    assert_eq!(decode(OpCode::Multi, end), Ok(Request::Multi { ops: vec![] }));
    assert_eq!(decode(OpCode::Multi, &format!("{check} {end}")), Ok(Request::Multi { ops }));
    decode(OpCode::Multi, check).expect_err("no end mark");
    let get_data = "00000004 00 ffffffff 00000002 2f61 00";
    let field = "type of an operation in a multi";
    for (op, element, value) in [
        (OpCode::Multi, get_data, 4),
        (OpCode::MultiRead, check, 13),
        (OpCode::Multi, "0000000e 00 ffffffff", 14),
        (OpCode::Multi, "000003e7 00 ffffffff", 999),
    ] {
        let result = decode(op, &format!("{element} {end}"));
        assert_eq!(result, Err(DecodeError::UnknownValue { field, value }));
    }
}

#[test]
fn a_failed_multi_says_what_became_of_each_operation() {
    let results = vec![
        MultiResult::RolledBack,
        MultiResult::Error(ErrorCode::NoNode),
        MultiResult::Error(ErrorCode::RuntimeInconsistency),
    ];
    let expected = "00000040 00000005 0000000000000009 00000000
        ffffffff 00 00000000 00000000
        ffffffff 00 ffffff9b ffffff9b
        ffffffff 00 fffffffe fffffffe
        ffffffff 01 ffffffff";
    let encoded = encoded(|out| Response::Multi { results }.encode(5, Zxid(9), out));
    assert_eq!(encoded, hex(&bytes(expected)));
}

#[test]
fn replies_without_a_usual_body() {
    let reply = |response: Response| encoded(|out| response.encode(7, Zxid::UNKNOWN, out));
    let header = "00000007 ffffffffffffffff";
    assert_eq!(reply(Response::Empty), hex(&bytes(&format!("00000010 {header} 00000000"))));
    let unimplemented = Response::Error(ErrorCode::Unimplemented);
    assert_eq!(reply(unimplemented), hex(&bytes(&format!("00000010 {header} fffffffa"))));
    assert_eq!(reply(Response::AddWatch), hex(&bytes(&format!("00000014 {header} 00000000 00000000"))));
}

#[test]
fn a_stat_takes_its_68_bytes_in_order() {
    let stat = Stat {
        czxid: Zxid(1),
        mzxid: Zxid(2),
        ctime_ms: 3,
        mtime_ms: 4,
        version: 5,
        cversion: -1,
        aversion: 6,
        ephemeral_owner: 7,
        data_length: 8,
        num_children: 9,
        pzxid: Zxid(10),
    };
    let body = "0000000000000001 0000000000000002 0000000000000003 0000000000000004
        00000005 ffffffff 00000006 0000000000000007 00000008 00000009 000000000000000a";
    let reply = encoded(|out| Response::Stat(stat).encode(3, Zxid(11), out));
    assert_eq!(reply, hex(&bytes(&format!("00000054 00000003 000000000000000b 00000000 {body}"))));
}

#[test]
fn a_notification() {
    let event = WatcherEvent { kind: EventKind::NodeChildrenChanged, path: "/a".into() };
    let expected = "0000001e ffffffff 0000000100000002 00000000 00000004 00000003 00000002 2f61";
    assert_eq!(encoded(|out| encode_event(Zxid::new(1, 2), &event, out)), hex(&bytes(expected)));
}

#[test]
fn four_letter_words_stand_only_at_the_start() {
    let decoder = FrameDecoder::new(FrameDecoder::DEFAULT_MAX_LEN);
    let mut stream = BytesMut::from("ruok\r\n");
    assert_eq!(decoder.first(&mut stream), Ok(Some(FirstBytes::FourLetter(*b"ruok"))));
    assert_eq!(decoder.first(&mut BytesMut::from("ruo")), Ok(None));
    let too_long = FrameError::TooLong { length: 1_920_298_859, max_len: 1_048_575 };
    assert_eq!(decoder.next(&mut BytesMut::from("ruok")), Err(too_long));
}

#[test]
fn lengths_have_bounds() {
    let decoder = FrameDecoder::new(FrameDecoder::DEFAULT_MAX_LEN);
    assert_eq!(decoder.next(&mut bytes("ffffffff")), Err(FrameError::Negative { length: -1 }));
    let too_long = FrameError::TooLong { length: 0x10_0000, max_len: 0xf_ffff };
    assert_eq!(decoder.next(&mut bytes("00100000")), Err(too_long));
    assert_eq!(decoder.next(&mut bytes("000fffff")), Ok(None));
    assert_eq!(decoder.next(&mut bytes("00000000")), Ok(Some(Bytes::new())));
}
