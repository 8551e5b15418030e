//! `src/worker` is a crate of its own in all but name: here it is compiled without the rest of this one.

#[path = "../src/worker/mod.rs"]
#[allow(dead_code, unused_imports, reason = "what this test does not call")]
mod worker;

use std::{future, sync::Arc};

use worker::{Cancel, Limits, Protocol, Request, Response, serve};

#[tokio::test]
async fn it_needs_nothing_of_the_rest() {
    let shout = |request: &Request, _: &Cancel| Response {
        exit_code: 0,
        output: request.arguments[0].escape_ascii().to_string().to_uppercase(),
    };
    let requests = br#"{"arguments": ["quiet"], "requestId": 3}"#;
    let mut responses = Vec::new();
    let limits = Limits::default();
    serve(&requests[..], &mut responses, Protocol::Json, limits, Arc::new(shout), future::pending())
        .await
        .unwrap();
    assert_eq!(responses, b"{\"exitCode\":0,\"output\":\"QUIET\",\"requestId\":3}\n");
}
