//! Detects whether a file has changed, without reading it.
//!
//! A [`Stamp`] consists of the `stat` fields that change with a file's content. Bazel reuses its own
//! digests as long as the same fields are unchanged (`FileContentsProxy`). Programs cannot set the
//! change time, so an edit that is later undone does not restore the old stamp.
//!
//! One gap remains. The kernel takes change times from a clock that advances in ticks, so a file that is
//! written twice within a tick has the same stamp for both contents. Only a stamp older than a tick, a
//! *settled* one, identifies the content.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Longer than a tick of the kernel's clock at any of its settings (at most 10 ms).
const TICK: Duration = Duration::from_millis(20);
/// Longer than the resolution of file systems that store whole seconds (FAT stores every other one).
const COARSE_TICK: Duration = Duration::from_secs(3);

/// The `stat` fields that identify a version of a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Stamp {
    pub device: u64,
    pub inode: u64,
    /// In bytes.
    pub size: u64,
    /// Seconds and nanoseconds since 1970.
    pub modified: (i64, i64),
    pub changed: (i64, i64),
}

impl Stamp {
    /// The stamp of the file with this metadata.
    pub fn of(metadata: &Metadata) -> Stamp {
        Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether every later change to the file changes its stamp. `now` is a time before the stamp was
    /// taken.
    pub fn is_settled(&self, now: SystemTime) -> bool {
        let (seconds, nanoseconds) = self.changed;
        let tick = if nanoseconds == 0 { COARSE_TICK } else { TICK };
        let since_1970 =
            |seconds: u64| Duration::from_secs(seconds) + Duration::from_nanos(nanoseconds as u64);
        match (u64::try_from(seconds), now.duration_since(UNIX_EPOCH)) {
            (Ok(seconds), Ok(now)) => since_1970(seconds) + tick < now,
            // A file last changed before 1970 is settled. With a clock before 1970, nothing can be said.
            (Err(_), Ok(_)) => true,
            _ => false,
        }
    }

    /// Whether the content is the same, assuming that the modification time was not reset. Other fields
    /// can change without the content: a new hard link changes the change time.
    pub fn has_same_content(&self, other: &Stamp) -> bool {
        (self.size, self.modified) == (other.size, other.modified)
    }

    /// The fields as bytes, for hashing.
    pub fn to_bytes(&self) -> [u8; 56] {
        let Stamp { device, inode, size, modified, changed } = *self;
        let mut bytes = [0; 56];
        let numbers = [
            device.to_le_bytes(),
            inode.to_le_bytes(),
            size.to_le_bytes(),
            modified.0.to_le_bytes(),
            modified.1.to_le_bytes(),
            changed.0.to_le_bytes(),
            changed.1.to_le_bytes(),
        ];
        bytes.chunks_exact_mut(8).zip(numbers).for_each(|(room, number)| room.copy_from_slice(&number));
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed_at(seconds: i64, nanoseconds: i64) -> Stamp {
        Stamp { changed: (seconds, nanoseconds), ..Stamp::default() }
    }

    #[test]
    fn a_stamp_settles_after_a_tick() {
        let at = |milliseconds| UNIX_EPOCH + Duration::from_millis(milliseconds);
        let stamp = changed_at(100, 5_000_000);
        assert!(!stamp.is_settled(at(100_005)));
        assert!(!stamp.is_settled(at(100_025)));
        assert!(stamp.is_settled(at(100_026)));
        assert!(!stamp.is_settled(at(99_000)), "the file is from the future");
        assert!(!stamp.is_settled(UNIX_EPOCH - TICK), "the clock is wrong");
        assert!(changed_at(-1, 5).is_settled(at(1)));
    }

    #[test]
    fn whole_seconds_settle_later() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert!(!changed_at(100, 0).is_settled(at(103)));
        assert!(changed_at(100, 0).is_settled(at(104)));
    }

    #[test]
    fn an_edit_that_is_undone_leaves_another_stamp() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let stamp = || Stamp::of(&std::fs::metadata(&path).unwrap());
        std::fs::write(&path, "before").unwrap();
        let (time, before) = (std::fs::metadata(&path).unwrap().modified().unwrap(), stamp());
        while !before.is_settled(SystemTime::now()) {
            std::thread::sleep(TICK);
        }
        std::fs::write(&path, "edited").unwrap();
        std::fs::write(&path, "before").unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        assert_ne!(stamp(), before);
        assert!(stamp().has_same_content(&before));
        assert_eq!(stamp().to_bytes()[..48], before.to_bytes()[..48], "all but the change time");
    }
}
