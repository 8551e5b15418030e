//! Makes the end of an eStargz layer, which stargz-snapshotter of containerd mounts. Pure.
//!
//! `estargz.md` of stargz-snapshotter defines the format. The table of contents is the last file of the tar, in a member
//! of its own, and the footer, an empty member, contains the table's offset.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::archive::ESTARGZ_TABLE;
use crate::header;
use crate::inputs::FileContent;
use crate::metadata::Metadata;
use crate::plan::{Body, TarEntry};
use crate::show::sha256;
use crate::toc::{Contents, Dialect, End, Error};

/// The end of a layer of which `uncompressed` bytes have become `size`. `compress` makes a gzip member.
pub fn end(
    contents: Contents<'_>,
    size: u64,
    uncompressed: u64,
    compress: impl FnOnce(&[u8]) -> io::Result<Vec<u8>>,
) -> Result<End, Error> {
    let table = serde_json::to_vec(&contents.table(Dialect::Estargz)?).map_err(io::Error::from)?;
    let tar = tar_end(&table, &contents.plan.metadata);
    let mut blob = compress(&tar)?;
    blob.extend(footer(size));
    let annotations = BTreeMap::from([
        ("containerd.io/snapshot/stargz/toc.digest", sha256(&Sha256::digest(&table).into())),
        ("io.containers.estargz.uncompressed-size", (uncompressed + tar.len() as u64).to_string()),
    ]);
    Ok(End { tar, blob, annotations })
}

/// The end of the tar: the table as its last file, and the end of the archive.
fn tar_end(table: &[u8], metadata: &Metadata) -> Vec<u8> {
    let mut tar = Vec::with_capacity(table.len() + 4096);
    let content = FileContent { size: table.len() as u64, ..FileContent::default() };
    let body = Body::File(Arc::new(content));
    let entry = TarEntry { name: ESTARGZ_TABLE.into(), mode: metadata.mode.of_data(), body };
    header::encode(&entry, metadata, &mut tar);
    tar.extend_from_slice(table);
    let padding = header::padding(table.len() as u64) + header::END_OF_ARCHIVE_BYTES;
    tar.resize(tar.len() + padding as usize, 0);
    tar
}

/// The footer: an empty gzip member with the table's offset in an extra field.
fn footer(table_member: u64) -> Vec<u8> {
    let mut bytes = vec![0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255];
    bytes.extend([26, 0, b'S', b'G', 22, 0]);
    bytes.extend(format!("{table_member:016x}STARGZ").bytes());
    // An empty stored block, and the CRC-32 and size of nothing.
    bytes.extend([1, 0, 0, 0xff, 0xff]);
    bytes.extend([0; 8]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_footer_is_an_empty_member_of_51_bytes() {
        let footer = footer(0x1234);
        assert_eq!(footer.len(), 51);
        let mut decoder = flate2::read::GzDecoder::new(&footer[..]);
        assert_eq!(std::io::copy(&mut decoder, &mut std::io::sink()).unwrap(), 0);
        let extra = decoder.header().unwrap().extra().unwrap();
        assert_eq!(extra, b"SG\x16\x000000000000001234STARGZ");
    }
}
