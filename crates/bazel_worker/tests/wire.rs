//! The wire format, compared with independent implementations: protobuf-codegen for the binary encoding,
//! protobuf-json-mapping for JSON, hand-written bytes, and recordings of a real Bazel.

use bazel_worker::{
    Error, Input, Protocol, Request, Response,
    wire::{Decoder, MAX_MESSAGE_BYTES, Message, encode_response},
};
use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use protobuf::Message as _;
use reference::worker_protocol as bazel;

mod reference;

/// Decodes a stream that arrives in pieces of the given sizes, and then the rest at once.
fn decode_pieces(
    protocol: Protocol,
    stream: &[u8],
    pieces: impl IntoIterator<Item = usize>,
) -> Result<Vec<Message>, Error> {
    let mut decoder = Decoder::new(protocol);
    let mut received = BytesMut::new();
    let mut messages = Vec::new();
    let mut rest = stream;
    let mut pieces = pieces.into_iter();
    loop {
        while let Some(message) = decoder.decode(&mut received)? {
            messages.push(message);
        }
        if rest.is_empty() {
            decoder.finish(&received)?;
            return Ok(messages);
        }
        let (piece, others) = rest.split_at(pieces.next().unwrap_or(usize::MAX).min(rest.len()));
        received.extend_from_slice(piece);
        rest = others;
    }
}

fn decode(protocol: Protocol, stream: &[u8]) -> Result<Vec<Message>, Error> {
    decode_pieces(protocol, stream, [])
}

fn decode_one(protocol: Protocol, stream: &[u8]) -> Message {
    let mut messages = decode(protocol, stream).expect("the stream is right");
    assert_eq!(messages.len(), 1, "{messages:?}");
    messages.remove(0)
}

fn varint(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

fn framed(message: &[u8]) -> Vec<u8> {
    [varint(message.len()), message.to_vec()].concat()
}

/// The same request in the types of the reference implementation.
fn to_bazel(request: &Request) -> bazel::WorkRequest {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    bazel::WorkRequest {
        arguments: request.arguments.iter().map(|argument| text(argument)).collect(),
        inputs: request
            .inputs
            .iter()
            .map(|input| bazel::Input {
                path: text(&input.path),
                digest: input.digest.to_vec(),
                ..Default::default()
            })
            .collect(),
        request_id: request.request_id,
        verbosity: request.verbosity,
        sandbox_dir: request.sandbox_dir.to_str().unwrap().to_owned(),
        ..Default::default()
    }
}

fn any_bytes() -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), 0..70).prop_map(Bytes::from)
}

fn any_text() -> impl Strategy<Value = Bytes> {
    any::<String>().prop_map(Bytes::from)
}

fn any_request() -> impl Strategy<Value = Request> {
    let input = (any_text(), any_bytes()).prop_map(|(path, digest)| Input { path, digest });
    (
        proptest::collection::vec(any_text(), 0..8),
        proptest::collection::vec(input, 0..8),
        any::<i32>(),
        any::<i32>(),
        any::<String>(),
    )
        .prop_map(|(arguments, inputs, request_id, verbosity, sandbox_dir)| Request {
            arguments,
            inputs,
            request_id,
            verbosity,
            sandbox_dir: sandbox_dir.into(),
        })
}

proptest! {
    #[test]
    fn requests_of_the_reference_are_understood_however_reads_cut_them(
        requests in proptest::collection::vec(any_request(), 0..4),
        pieces in proptest::collection::vec(1..40_usize, 0..200),
    ) {
        let (mut proto, mut json) = (Vec::new(), Vec::new());
        for request in &requests {
            to_bazel(request).write_length_delimited_to_vec(&mut proto).unwrap();
            json.extend(protobuf_json_mapping::print_to_string(&to_bazel(request)).unwrap().bytes());
        }
        let expected: Vec<_> = requests.into_iter().map(Message::Work).collect();
        prop_assert_eq!(&decode_pieces(Protocol::Proto, &proto, pieces.clone()).unwrap(), &expected);
        prop_assert_eq!(&decode_pieces(Protocol::Json, &json, pieces).unwrap(), &expected);
    }

    #[test]
    fn the_reference_understands_responses(
        (exit_code, request_id) in any::<(i32, i32)>(),
        output in any::<String>(),
        was_cancelled in any::<bool>(),
    ) {
        let response = Response { exit_code, output: output.clone() };
        let expected = bazel::WorkResponse {
            exit_code, output, request_id, was_cancelled, ..Default::default()
        };
        let encode = |protocol| encode_response(protocol, request_id, response.clone(), was_cancelled);

        let proto = encode(Protocol::Proto);
        let mut stream = protobuf::CodedInputStream::from_bytes(&proto);
        let decoded: bazel::WorkResponse = stream.read_message().unwrap();
        prop_assert_eq!(&decoded, &expected);
        prop_assert!(stream.eof().unwrap());
        // Byte for byte the same, so as short as Bazel's own encoding.
        prop_assert_eq!(&proto, &expected.write_length_delimited_to_bytes().unwrap());

        let json = String::from_utf8(encode(Protocol::Json)).unwrap();
        let decoded: bazel::WorkResponse = protobuf_json_mapping::parse_from_str(&json).unwrap();
        prop_assert_eq!(&decoded, &expected);
    }

    #[test]
    fn cancellations_are_understood(id in any::<i32>()) {
        let message = bazel::WorkRequest { request_id: id, cancel: true, ..Default::default() };
        let proto = message.write_length_delimited_to_bytes().unwrap();
        let json = protobuf_json_mapping::print_to_string(&message).unwrap();
        let expected = Message::Cancel { request_id: id };
        prop_assert_eq!(decode_one(Protocol::Proto, &proto), expected.clone());
        prop_assert_eq!(decode_one(Protocol::Json, json.as_bytes()), expected);
    }

    #[test]
    fn garbage_is_an_error_or_a_message_but_no_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        pieces in proptest::collection::vec(1..20_usize, 0..40),
    ) {
        for protocol in [Protocol::Proto, Protocol::Json] {
            let whole = decode(protocol, &bytes).map_err(|error| error.to_string());
            let cut = decode_pieces(protocol, &bytes, pieces.clone()).map_err(|error| error.to_string());
            prop_assert_eq!(whole, cut);
        }
    }

    #[test]
    fn paths_are_bytes(path in any_bytes(), argument in any_bytes(), directory in any_bytes()) {
        let field = |tag: u8, content: &[u8]| [&[tag, content.len() as u8], content].concat();
        let message = [
            field(0x0a, &argument),
            field(0x12, &field(0x0a, &path)),
            field(0x32, &directory),
        ]
        .concat();
        let Message::Work(request) = decode_one(Protocol::Proto, &framed(&message)) else { panic!() };
        prop_assert_eq!(&request.arguments, &[argument]);
        prop_assert_eq!(&request.inputs[0].path, &path);
        prop_assert_eq!(request.sandbox_dir.as_os_str().as_encoded_bytes(), &directory[..]);
    }
}

#[test]
fn a_request_by_hand() {
    let message = b"\x0a\x03out\x0a\x00\
        \x12\x0c\x0a\x04a\xff b\x12\x0448af\
        \x12\x00\
        \x18\x07\x28\x0a\
        \x32\x11__sandbox/9/_main";
    let expected = Request {
        arguments: vec![Bytes::from("out"), Bytes::new()],
        inputs: vec![
            Input { path: Bytes::from_static(b"a\xff b"), digest: Bytes::from("48af") },
            Input::default(),
        ],
        request_id: 7,
        verbosity: 10,
        sandbox_dir: "__sandbox/9/_main".into(),
    };
    let stream = framed(message);
    assert_eq!(decode_one(Protocol::Proto, &stream), Message::Work(expected.clone()));
    let byte_by_byte = decode_pieces(Protocol::Proto, &stream, std::iter::repeat(1)).unwrap();
    assert_eq!(byte_by_byte, [Message::Work(expected)]);
}

#[test]
fn a_frame_of_no_bytes_is_a_request_of_defaults() {
    let default = || Message::Work(Request::default());
    assert_eq!(decode(Protocol::Proto, b"\0\0").unwrap(), [default(), default()]);
    assert_eq!(decode(Protocol::Json, b"{}{ }").unwrap(), [default(), default()]);
}

#[test]
fn responses_by_hand() {
    let encode = |response: &Response, id, cancelled| {
        encode_response(Protocol::Proto, id, response.clone(), cancelled)
    };
    let default = Response::default();
    assert_eq!(encode(&default, 0, false), b"\0");
    assert_eq!(encode(&default, 3, true), b"\x04\x18\x03\x20\x01");
    let failure = Response { exit_code: -1, output: "né\n".to_owned() };
    assert_eq!(
        encode(&failure, 0, false),
        b"\x11\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x12\x04n\xc3\xa9\n"
    );
}

#[test]
fn negative_ids_survive() {
    let stream = framed(b"\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01");
    let Message::Work(request) = decode_one(Protocol::Proto, &stream) else { panic!() };
    assert_eq!(request.request_id, -1);
}

#[test]
fn unknown_fields_are_ignored() {
    // Field 15 as a string, 16 as a varint, 17 as 64 bits, 18 as 32 bits, and 1 again.
    let message = b"\x0a\x01a\x7a\x03xyz\x80\x01\x05\x89\x0112345678\x95\x011234\x0a\x01b";
    let Message::Work(request) = decode_one(Protocol::Proto, &framed(message)) else { panic!() };
    assert_eq!(request.arguments, [Bytes::from("a"), Bytes::from("b")]);
    let json = br#"{"future": {"deep": [1, {"}": "]"}]}, "arguments": ["a"], "another": null}"#;
    let Message::Work(request) = decode_one(Protocol::Json, json) else { panic!() };
    assert_eq!(request.arguments, [Bytes::from("a")]);
}

#[test]
fn other_fields_of_a_cancellation_are_ignored() {
    let stream = framed(b"\x0a\x01a\x18\x05\x20\x01\x12\x03\x0a\x01p");
    assert_eq!(decode_one(Protocol::Proto, &stream), Message::Cancel { request_id: 5 });
}

#[test]
fn a_length_of_2_to_the_63_is_refused_at_once() {
    let error = decode(Protocol::Proto, b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01").unwrap_err();
    assert!(matches!(error, Error::TooLarge(length) if length == 1 << 63), "{error}");
    assert!(error.to_string().contains("9223372036854775808 bytes"), "{error}");
}

#[test]
fn a_length_just_beyond_the_limit_is_refused_and_one_at_the_limit_is_not() {
    let error = decode(Protocol::Proto, &varint(MAX_MESSAGE_BYTES + 1)).unwrap_err();
    assert!(matches!(error, Error::TooLarge(_)), "{error}");
    let error = decode(Protocol::Proto, &varint(MAX_MESSAGE_BYTES)).unwrap_err();
    assert!(matches!(error, Error::Truncated(_)), "{error}");
}

#[test]
fn an_endless_length_is_refused() {
    let error = decode(Protocol::Proto, &[0xff; 10]).unwrap_err();
    assert!(matches!(error, Error::EndlessLength), "{error}");
}

#[test]
fn a_length_may_be_longer_than_it_has_to_be() {
    assert_eq!(
        decode_one(Protocol::Proto, b"\x82\x80\x00\x18\x07"),
        Message::Work(Request { request_id: 7, ..Request::default() })
    );
}

#[test]
fn half_a_message_at_the_end_is_an_error() {
    for (protocol, stream) in [
        (Protocol::Proto, &b"\x80"[..]),
        (Protocol::Proto, b"\x05\x0a\x01"),
        (Protocol::Proto, b"\x00\x02\x18"),
        (Protocol::Json, b"{"),
        (Protocol::Json, b"{} {\"arguments\": [\"}\""),
    ] {
        let error = decode(protocol, stream).unwrap_err();
        assert!(matches!(error, Error::Truncated(1..)), "{stream:?}: {error}");
        assert!(error.to_string().starts_with("stdin ended in the middle of"), "{error}");
    }
}

#[test]
fn a_frame_that_is_not_a_message_is_an_error() {
    // A field that extends beyond the frame; wire type 7; field number 0.
    for message in [&b"\x0a\x05a"[..], b"\x0f", b"\x02\x00"] {
        let error = decode(Protocol::Proto, &framed(message)).unwrap_err();
        assert!(matches!(error, Error::MalformedProto(_)), "{error}");
    }
}

#[test]
fn an_object_that_is_not_a_message_is_an_error() {
    for object in [r#"{"arguments": 1}"#, r#"{"inputs": [{"digest": "§"}]}"#, "{]", "{\"a\" 1}"] {
        let error = decode(Protocol::Json, object.as_bytes()).unwrap_err();
        assert!(matches!(error, Error::MalformedJson(_)), "{object}: {error}");
    }
}

#[test]
fn the_wrong_protocol_is_named() {
    let error = decode(Protocol::Json, &framed(b"\x0a\x01a")).unwrap_err();
    assert!(matches!(error, Error::NotJson(3)), "{error}");
    // ASCII has more whitespace characters than JSON.
    let error = decode(Protocol::Json, b"{}\x0c{}").unwrap_err();
    assert!(matches!(error, Error::NotJson(0x0c)), "{error}");
    assert!(error.to_string().contains("requires-worker-protocol"), "{error}");
}

#[test]
fn a_request_of_60_megabytes() {
    let mut request = Request::default();
    for file in 0..300_000 {
        request.inputs.push(Input {
            path: format!("bazel-out/{:0>130}/{file}", "").into(),
            digest: format!("{file:064x}").into(),
        });
    }
    let proto = to_bazel(&request).write_length_delimited_to_bytes().unwrap();
    assert!(proto.len() > 60_000_000);
    let expected = Message::Work(request);
    let pieces = || std::iter::repeat(1 << 16);
    assert!(decode_pieces(Protocol::Proto, &proto, pieces()).unwrap() == [expected.clone()]);
    // A tenth of it, since the reference implementation writes JSON slowly.
    let Message::Work(mut request) = expected else { unreachable!() };
    request.inputs.truncate(30_000);
    let json = protobuf_json_mapping::print_to_string(&to_bazel(&request)).unwrap();
    let messages = decode_pieces(Protocol::Json, json.as_bytes(), pieces()).unwrap();
    assert!(messages == [Message::Work(request)]);
}

#[test]
fn arguments_are_not_copied_out_of_the_frame() {
    let mut received = BytesMut::from(&framed(b"\x0a\x05hello\x12\x07\x0a\x05world")[..]);
    let frame = received.as_ptr_range();
    let Some(Message::Work(request)) = Decoder::new(Protocol::Proto).decode(&mut received).unwrap() else {
        panic!()
    };
    assert!(frame.contains(&request.arguments[0].as_ptr()));
    assert!(frame.contains(&request.inputs[0].path.as_ptr()));
}

#[test]
fn a_buffer_does_not_outlive_its_message() {
    let mut received = BytesMut::from(&framed(&[0; 0])[..]);
    received.reserve(1 << 20);
    Decoder::new(Protocol::Proto).decode(&mut received).unwrap();
    assert_eq!(received.capacity(), 0);
}

#[test]
fn json_pretty_compact_concatenated_and_cut_anywhere() {
    let stream = concat!(
        "{\"arguments\":[\"a\"],\"requestId\":1}{\"requestId\":2}\r\n\r\n\t ",
        "{\n  \"arguments\": [\n    \"\\\"}{\\\\\",\n    \"\\u003cé\"\n  ],\n  \"requestId\": 3\n}\n",
    );
    let request = |request_id, arguments: &[&str]| {
        let arguments = arguments.iter().map(|&text| Bytes::from(text.to_owned())).collect();
        Message::Work(Request { arguments, request_id, ..Request::default() })
    };
    let expected = [request(1, &["a"]), request(2, &[]), request(3, &["\"}{\\", "<é"])];
    for cut in 0..stream.len() {
        let messages = decode_pieces(Protocol::Json, stream.as_bytes(), [cut]).unwrap();
        assert_eq!(messages, expected, "cut at {cut}");
    }
    let messages = decode_pieces(Protocol::Json, stream.as_bytes(), std::iter::repeat(1)).unwrap();
    assert_eq!(messages, expected, "byte by byte");
}

#[test]
fn json_nulls_and_the_names_of_the_schema() {
    let object = br#"{"arguments": null, "inputs": [{"path": null, "digest": null}, {}],
        "request_id": 4, "cancel": null, "verbosity": null, "sandbox_dir": "s"}"#;
    let expected = Request {
        inputs: vec![Input::default(), Input::default()],
        request_id: 4,
        sandbox_dir: "s".into(),
        ..Request::default()
    };
    assert_eq!(decode_one(Protocol::Json, object), Message::Work(expected));
}

#[test]
fn json_paths_are_bytes() {
    let object =
        b"{\"arguments\": [\"a\xff\"], \"inputs\": [{\"path\": \"\xe9\"}], \"sandboxDir\": \"\xfe\"}";
    let Message::Work(request) = decode_one(Protocol::Json, object) else { panic!() };
    assert_eq!(&request.arguments[0][..], b"a\xff");
    assert_eq!(&request.inputs[0].path[..], b"\xe9");
    assert_eq!(request.sandbox_dir.as_os_str().as_encoded_bytes(), b"\xfe");
}

#[test]
fn json_digests_in_either_alphabet_with_or_without_padding() {
    for (text, digest) in [
        ("NmJiNA==", &b"6bb4"[..]),
        ("NmJiNA", b"6bb4"),
        ("+/8=", b"\xfb\xff"),
        ("-_8", b"\xfb\xff"),
        ("", b""),
    ] {
        let object = format!(r#"{{"inputs": [{{"digest": "{text}"}}]}}"#);
        let Message::Work(request) = decode_one(Protocol::Json, object.as_bytes()) else { panic!() };
        assert_eq!(&request.inputs[0].digest[..], digest, "{text}");
    }
}

#[test]
fn json_responses_by_hand() {
    let response = Response { exit_code: 2, output: "a \"b\"\n\u{1}é".to_owned() };
    let encode = |cancelled| {
        String::from_utf8(encode_response(Protocol::Json, -3, response.clone(), cancelled)).unwrap()
    };
    let common = r#"{"exitCode":2,"output":"a \"b\"\n\u0001é","requestId":-3"#;
    assert_eq!(encode(false), format!("{common}}}\n"));
    assert_eq!(encode(true), format!("{common},\"wasCancelled\":true}}\n"));
}

#[test]
fn a_recorded_session_is_the_same_in_both_encodings() {
    let read =
        |name: &str| std::fs::read(format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    for (proto, json, sandboxed) in [
        ("proto_singleplex.bin", "json_singleplex.json", false),
        ("proto_multiplex_sandboxed.bin", "json_multiplex_sandboxed.json", true),
    ] {
        for (protocol, recorded) in [(Protocol::Proto, read(proto)), (Protocol::Json, read(json))] {
            let messages = decode(protocol, &recorded).unwrap();
            assert_eq!(messages.len(), 2);
            for message in messages {
                let Message::Work(request) = message else { panic!("{message:?}") };
                assert!(request.arguments[0].ends_with(b".out"));
                assert_eq!(request.arguments[1..4], ["", "two words", "quote \" backslash \\ < = > & '"]);
                assert_eq!(&request.arguments[6][..], "data/ünïcode.txt".as_bytes());
                assert_eq!(request.inputs.len(), 5, "three files, the program, the parameter file");
                let paths: Vec<_> = request.inputs[..3].iter().map(|input| &input.path[..]).collect();
                assert_eq!(paths, request.arguments[4..7]);
                let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
                assert_eq!(request.inputs[1].digest, empty);
                assert_eq!(request.verbosity, 10);
                if sandboxed {
                    assert!([1, 2].contains(&request.request_id));
                    assert!(request.sandbox_dir.starts_with("__sandbox"));
                    assert!(request.sandbox_dir.ends_with("_main"));
                } else {
                    assert_eq!((request.request_id, request.sandbox_dir.to_str()), (0, Some("")));
                }
            }
        }
    }
}
