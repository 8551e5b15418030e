//! Reads zstd:chunked layers as containers-storage does (`pkg/chunked`), and as ordinary readers do.

use std::collections::BTreeMap;
use std::ops::Range;
use std::process::Command;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};

use super::{Image, METADATA, check_metadata, check_unrepresentable};
use crate::support::{Manifest, Outputs, Workspace, readers, sha256};

const LAZY: [&str; 2] = ["--lazy=zstd:chunked", "--compress=zstd"];
const PREFIX: &str = "io.github.containers.zstd-chunked.";

/// What the annotations of a layer's descriptor lead to.
struct Chunked {
    layer: Vec<u8>,
    table: Value,
    /// The lines of the tar-split.
    tar_split: Vec<Value>,
}

impl Chunked {
    fn new(Outputs { layer, descriptor, .. }: Outputs) -> Chunked {
        let annotations = annotations(&descriptor);
        let position = numbers(&annotations[&format!("{PREFIX}manifest-position")]);
        let table = frame(&layer, &position, &annotations[&format!("{PREFIX}manifest-checksum")]);
        let table: Value = serde_json::from_slice(&table).unwrap();
        assert_eq!((position[3], &table["version"]), (1, &json!(1)));
        let position = numbers(&annotations[&format!("{PREFIX}tarsplit-position")]);
        let tar_split = frame(&layer, &position, table["tarSplitDigest"].as_str().unwrap());
        let lines = tar_split.split_inclusive(|byte| *byte == b'\n');
        let tar_split = lines.map(|line| serde_json::from_slice(line).unwrap()).collect();
        Chunked { layer, table, tar_split }
    }

    fn entries(&self) -> &[Value] {
        self.table["entries"].as_array().unwrap()
    }

    /// The contents of files, by their names.
    fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let mut rows = self.entries().iter().peekable();
        while let Some(row) = rows.next() {
            let name = row["name"].as_str().unwrap();
            if row["type"] != "reg" {
                assert!(row["digest"].is_null() && row["type"] != "chunk", "{name}");
                continue;
            }
            let chunks: Vec<&Value> =
                std::iter::from_fn(|| rows.next_if(|row| row["type"] == "chunk")).collect();
            let mut content = Vec::new();
            if row["size"].is_u64() {
                let all: Vec<&Value> = std::iter::once(row).chain(chunks.iter().copied()).collect();
                for (number, chunk) in all.iter().enumerate() {
                    let end = all.get(number + 1).map_or(&row["endOffset"], |next| &next["offset"]);
                    let part = frames(&self.layer, index(&chunk["offset"])..index(end));
                    assert_eq!((index(&chunk["chunkOffset"]), &chunk["name"]), (content.len(), &row["name"]));
                    if all.len() > 1 {
                        assert_eq!(index(&chunk["chunkSize"]), part.len(), "{name}");
                        assert_eq!(chunk["chunkDigest"], format!("sha256:{}", sha256(&part)), "{name}");
                    } else {
                        assert!(chunk["chunkSize"].is_null() && chunk["chunkDigest"].is_null());
                    }
                    content.extend(part);
                }
                assert_eq!(all.last().unwrap()["endOffset"], row["endOffset"], "{name}");
                assert_eq!(row["digest"], format!("sha256:{}", sha256(&content)), "{name}");
            }
            assert_eq!(index(&row["size"]), content.len(), "{name}");
            assert!(files.insert(name.to_string(), content).is_none(), "{name} is there twice");
        }
        files
    }
}

fn annotations(descriptor: &str) -> BTreeMap<String, String> {
    let descriptor: Value = serde_json::from_str(descriptor).unwrap();
    serde_json::from_value(descriptor["annotations"].clone()).unwrap()
}

fn numbers(position: &str) -> Vec<usize> {
    position.split(':').map(|number| number.parse().unwrap()).collect()
}

/// A number that is not there if it is 0.
fn index(value: &Value) -> usize {
    value.as_u64().unwrap_or(0) as usize
}

/// The decompressed content of a skippable frame.
fn frame(layer: &[u8], position: &[usize], digest: &str) -> Vec<u8> {
    let [offset, length, uncompressed, ..] = position else { panic!("{position:?}") };
    let mut header = vec![0x50, 0x2a, 0x4d, 0x18];
    header.extend((*length as u32).to_le_bytes());
    assert_eq!(layer[offset - 8..*offset], header);
    let content = &layer[*offset..offset + length];
    assert_eq!(digest, format!("sha256:{}", sha256(content)));
    let content = zstd::stream::decode_all(content).unwrap();
    assert_eq!(content.len(), *uncompressed);
    content
}

/// The content of whole frames.
fn frames(layer: &[u8], place: Range<usize>) -> Vec<u8> {
    zstd::stream::decode_all(&layer[place]).unwrap()
}

/// CRC-64/GO-ISO, bit by bit (ISO 3309).
fn crc64(bytes: &[u8]) -> u64 {
    !bytes.iter().fold(!0, |crc: u64, byte| {
        (0..8).fold(crc ^ u64::from(*byte), |crc, _| (crc >> 1) ^ ((crc & 1) * 0xd800_0000_0000_0000))
    })
}

#[test]
fn files_are_found_by_the_table_of_contents() {
    let image = Image::new();
    let mut expected = image.files.clone();
    expected.insert("./app/nothing".into(), Vec::new());
    let found = Chunked::new(image.outputs(&LAZY)).contents();
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    assert!(found == expected);
}

#[test]
fn the_tar_split_and_the_files_are_the_tar() {
    let image = Image::new();
    let options = ["--uid=3000000", "--uname=u", "--mode=0640"];
    let chunked = Chunked::new(image.outputs(&[&LAZY[..], &options].concat()));
    let mut files = chunked.contents();
    let mut tar = Vec::new();
    for (number, line) in chunked.tar_split.iter().enumerate() {
        assert_eq!(index(&line["position"]), number);
        let payload = line["payload"].as_str().map(|text| BASE64_STANDARD.decode(text).unwrap());
        if line["type"] == 2 {
            tar.extend(payload.unwrap());
            continue;
        }
        assert_eq!(line["type"], 1);
        // Links and directories have lines of files, too.
        let file = files.remove(line["name"].as_str().unwrap()).unwrap_or_default();
        assert_eq!(index(&line["size"]), file.len());
        assert_eq!(payload, (!file.is_empty()).then(|| crc64(&file).to_be_bytes().to_vec()));
        tar.extend(file);
    }
    assert!(files.is_empty());
    let plain = image.outputs(&[&["--compress=none"], &options[..]].concat()).layer;
    assert!(tar == plain);
    assert!(readers::decompressed(&chunked.layer) == plain);
}

#[test]
fn the_table_has_the_metadata_of_all_entries() {
    let chunked = Chunked::new(Image::new().outputs(&[&LAZY[..], &METADATA].concat()));
    check_metadata(chunked.entries(), &json!({"uid": 7, "gid": 8}));
}

#[test]
fn ordinary_readers_find_the_same_files() {
    let image = Image::new();
    let layer = image.outputs(&LAZY).layer;
    image.workspace.write("lazy.tar.zst", &layer);
    for (program, arguments) in [("bsdtar", &["-tf"][..]), ("zstd", &["-q", "-t"])] {
        let output = Command::new(program).args(arguments).arg(image.workspace.path("lazy.tar.zst")).output();
        // They may not be installed.
        if let Ok(output) = output {
            assert!(output.status.success() && output.stderr.is_empty(), "{program}: {output:?}");
        }
    }
}

#[test]
fn the_descriptor_leads_to_the_table() {
    let image = Image::new();
    let Outputs { layer, descriptor, listing } = image.outputs(&LAZY);
    let annotations = annotations(&descriptor);
    let mut footer = numbers(&annotations[&format!("{PREFIX}manifest-position")]);
    footer.extend(numbers(&annotations[&format!("{PREFIX}tarsplit-position")]));
    let mut expected = b"\x50\x2a\x4d\x18\x40\0\0\0".to_vec();
    expected.extend(footer.iter().flat_map(|number| (*number as u64).to_le_bytes()));
    expected.extend(b"GNUlInUx");
    assert!(layer.ends_with(&expected));
    assert_eq!(annotations.len(), 3);
    let descriptor: Value = serde_json::from_str(&descriptor).unwrap();
    assert_eq!(descriptor["digest"], format!("sha256:{}", sha256(&layer)));
    assert_eq!(descriptor["size"], layer.len());
    assert_eq!(descriptor["diff_id"], format!("sha256:{}", sha256(&readers::decompressed(&layer))));
    assert_eq!(descriptor["mediaType"], "application/vnd.oci.image.layer.v1.tar+zstd");
    assert_eq!(listing, image.outputs(&["--compress=zstd"]).listing);
}

#[test]
fn a_layer_without_files_has_a_table_too() {
    let chunked = Chunked::new(Workspace::new().outputs(&Manifest::new(), &LAZY));
    assert_eq!(chunked.entries(), [] as [Value; 0]);
    assert_eq!(chunked.tar_split.len(), 1);
    assert_eq!(readers::decompressed(&chunked.layer), [0; 1024]);
}

#[test]
fn the_highest_level_has_a_table_too() {
    let workspace = Workspace::new();
    workspace.write("in/a", "a");
    let manifest = Manifest::new().file("app/a", "in/a");
    let outputs = workspace.outputs(&manifest, &[&LAZY[..], &["--level=22"]].concat());
    assert_eq!(Chunked::new(outputs).contents(), BTreeMap::from([("./app/a".into(), b"a".to_vec())]));
}

#[test]
fn what_the_format_cannot_represent_is_an_error() {
    check_unrepresentable(&LAZY);
    for codec in ["gzip", "none"] {
        let options = ["--lazy=zstd:chunked", &format!("--compress={codec}")];
        let message = Workspace::new().error(&Manifest::new(), &options);
        let expected = format!("lazy zstd:chunked requires compression zstd, not {codec}");
        assert!(message.contains(&expected), "{message}");
    }
}
