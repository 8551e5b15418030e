//! The pure functions, on one core and without file access: the cost of a layer before its first byte is
//! read. `cargo bench --bench inner`, or `benches/run measure inner` for the rows of BENCHMARKS.md.

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;

use bazel_worker::wire::Decoder;
use bazel_worker::{Cancel, Protocol};
use bytes::{Bytes, BytesMut};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use pylayer::chunk::{self, ChunkSizes};
use pylayer::codec::Codec;
use pylayer::groups::{Groups, LayerGroup, LayerGroups};
use pylayer::header;
use pylayer::image_path::ImagePath;
use pylayer::inputs::{Content, FileContent, ResolvedEntry};
use pylayer::plan::{self, LayerPlan};
use pylayer::settings::Settings;
use pylayer::survey::Survey;

/// As many as in a binary with several deep learning frameworks.
const FILES: usize = 150_000;
/// Files per wheel.
const FILES_OF_WHEEL: usize = 500;
/// The size of Bazel's request with about 50,000 inputs.
const REQUEST_BYTES: usize = 10 << 20;

/// Typical groups: by wheel, by several wheels, by suffix.
const USER_GROUPS: [(&str, &str); 6] = [
    ("torch", r"pip_deps_311_wheel_(7|8|9)/"),
    ("numpy", r"\.runfiles/[^/]*_wheel_1[0-9]/.*"),
    ("models", r"/data/.*\.(bin|onnx)$"),
    ("certificates", r"certifi.*/cacert\.pem$"),
    ("generated", r"_pb2(_grpc)?\.pyi?$"),
    ("tests", r"/site-packages/.*/tests?/"),
];

/// Paths as in wheels: packages of eight modules, three directories deep.
fn image_path(number: usize) -> String {
    let (wheel, file) = (number / FILES_OF_WHEEL, number % FILES_OF_WHEEL);
    let (part, sub) = (file / 64, file / 8 % 8);
    format!(
        "app/server.runfiles/rules_python~~pip~pip_deps_311_wheel_{wheel}/site-packages/wheel_{wheel}/part_{part}/sub_{sub}/module_{file}.py"
    )
}

/// The exec path of the file.
fn exec_path(number: usize) -> String {
    image_path(number).replace("app/server.runfiles/", "external/")
}

/// A fake digest in Bazel's form, hexadecimal text.
fn digest(number: usize) -> Bytes {
    let mut text = String::with_capacity(64);
    for word in 1..=4 {
        let mixed = (number as u64 + 1).wrapping_mul(word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        write!(text, "{mixed:016x}").expect("a string takes any text");
    }
    text.into()
}

/// Sizes from 0 to 64 KB, most of them small, as in wheels.
fn size(number: usize) -> u64 {
    let odds = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48;
    odds * odds / 65_536
}

fn items() -> Vec<ResolvedEntry> {
    let item = |number| {
        let content = FileContent {
            file: exec_path(number).into(),
            size: size(number),
            digest: Some(digest(number)),
            executable: Some(false),
            lasting: true,
            ..FileContent::default()
        };
        let path = ImagePath::new(image_path(number)).expect("the path has no odd component");
        ResolvedEntry { path, content: Content::File(Arc::new(content)) }
    };
    (0..FILES).map(item).collect()
}

fn groups() -> Groups {
    let runfiles = ImagePath::new("app/server.runfiles").expect("the path has no odd component");
    let layer_groups = USER_GROUPS.iter().map(|(name, pattern)| LayerGroup::new(*name, *pattern)).collect();
    Groups { layer_groups, ..Groups::default() }.for_binary(&runfiles, &Survey::default())
}

fn layer_plan() -> LayerPlan {
    plan::plan(items(), &Settings::default(), &Cancel::new()).expect("the paths do not clash")
}

fn encode_headers(criterion: &mut Criterion) {
    let plan = layer_plan();
    let mut headers = Vec::new();
    criterion.bench_function("encode headers of 150,000 files", |bencher| {
        bencher.iter(|| {
            headers.clear();
            for entry in &plan.entries {
                header::encode(entry, &plan.metadata, &mut headers);
            }
            black_box(headers.len())
        });
    });
}

fn match_groups(criterion: &mut Criterion) {
    let path = |number| ImagePath::new(image_path(number)).expect("the path has no odd component");
    let paths: Vec<ImagePath> = (0..FILES).map(path).collect();
    let groups = groups();
    criterion.bench_function("match 150,000 paths with 10 patterns", |bencher| {
        bencher.iter(|| {
            let groups = LayerGroups::compile(&groups, &[]).expect("valid patterns");
            paths.iter().filter(|path| groups.group_of(path.tar_name()) == Some("packages")).count()
        });
    });
}

fn plan_entries(criterion: &mut Criterion) {
    let (items, settings) = (items(), Settings::default());
    criterion.bench_function("plan 150,000 files", |bencher| {
        bencher.iter_batched(
            || items.clone(),
            |items| plan::plan(items, &settings, &Cancel::new()),
            BatchSize::PerIteration,
        );
    });
}

fn cut_chunks(criterion: &mut Criterion) {
    let plan = layer_plan();
    let codec = Codec::Gzip { level: 6 };
    criterion.bench_function("cut 150,000 files into chunks", |bencher| {
        bencher.iter(|| chunk::chunks(&plan, ChunkSizes::of(codec)));
    });
    let chunks = chunk::chunks(&plan, ChunkSizes::of(codec));
    criterion.bench_function("make cache keys of the chunks of 150,000 files", |bencher| {
        bencher.iter(|| chunks.iter().filter(|chunk| chunk::key(&plan, chunk, codec).is_some()).count());
    });
}

fn decode_request(criterion: &mut Criterion) {
    let frame = request(REQUEST_BYTES);
    criterion.bench_function("decode a request of 10 MiB", |bencher| {
        bencher.iter_batched(
            || BytesMut::from(&frame[..]),
            |mut received| Decoder::new(Protocol::Proto).decode(&mut received),
            BatchSize::PerIteration,
        );
    });
}

/// A length-prefixed work request of at least `bytes` bytes.
fn request(bytes: usize) -> Vec<u8> {
    let mut request = Vec::with_capacity(bytes + 1024);
    for number in 0.. {
        if request.len() >= bytes {
            break;
        }
        let mut input = Vec::new();
        field(1, exec_path(number).as_bytes(), &mut input);
        field(2, &digest(number), &mut input);
        field(2, &input, &mut request);
    }
    let mut frame = Vec::new();
    varint(request.len(), &mut frame);
    frame.extend(request);
    frame
}

/// A length-delimited field of a protobuf message.
fn field(number: usize, bytes: &[u8], out: &mut Vec<u8>) {
    varint(number << 3 | 2, out);
    varint(bytes.len(), out);
    out.extend_from_slice(bytes);
}

fn varint(mut value: usize, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

criterion_group! {
    name = inner;
    // Each sample takes tens of milliseconds, so criterion's default of 100 gains nothing.
    config = Criterion::default().sample_size(20);
    targets = match_groups, plan_entries, cut_chunks, encode_headers, decode_request
}
criterion_main!(inner);
