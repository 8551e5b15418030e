//! Finds programs and libraries for another processor than that of the image's platform. Pure.

use std::collections::BTreeSet;

use super::division::DividedImage;
use super::{Advice, files, starlark, sum};
use crate::contents::Entry;
use crate::elf;
use crate::groups;
use crate::show::{show, size};

/// How many files are excluded one by one, the largest first. More lines are hard to review.
const MAX_PATTERNS: usize = 20;

/// Suggests to exclude ELF images for other processors.
pub fn advise(image: &DividedImage) -> Option<Advice> {
    let cpu = image.target.cpu.as_deref()?;
    let machine = elf::machine_of(cpu)?;
    let is_foreign = |other: u16| other != machine && elf::is_host(other);
    let mut foreign: Vec<(&Entry, u16)> = image
        .files()
        .filter_map(|entry| Some((entry, entry.machine.filter(|other| is_foreign(*other))?)))
        .collect();
    foreign.sort_by(|(a, _), (b, _)| b.compressed.cmp(&a.compressed).then_with(|| a.path.cmp(&b.path)));
    let (largest, _) = foreign.first()?;
    let components = foreign.iter().filter_map(|(entry, _)| image.image.components.get(entry.component));
    let names: BTreeSet<&str> = components.map(|component| component.name.as_str()).collect();
    let names = Vec::from_iter(names).join(", ");
    let of = if names.is_empty() { String::new() } else { format!(" of {}", show(names.as_bytes())) };
    let (are, more) = match foreign.len() {
        1 => ("is", String::new()),
        2..=MAX_PATTERNS => ("are", String::new()),
        _ => ("are", format!(" The lines exclude the {MAX_PATTERNS} largest.")),
    };
    let shown = || foreign.iter().take(MAX_PATTERNS);
    let patterns: Vec<(String, String)> =
        shown().map(|(entry, machine)| (path_pattern(&entry.path), elf::name(*machine))).collect();
    Some(Advice {
        title: "Exclude programs for other processors".to_string(),
        detail: format!(
            "{}{of} {are} not for {cpu}, such as {}.{more}",
            files(foreign.len()),
            show(&largest.path)
        ),
        saves: format!("{} compressed", size(sum(shown().map(|(entry, _)| entry.compressed)))),
        paste: starlark::exclude(image.target, &patterns).lines("exclude"),
    })
}

/// A pattern that matches `path`. Patterns cannot contain line breaks.
fn path_pattern(path: &[u8]) -> String {
    let is_control = |char: char| char.is_ascii_control();
    format!("^\\./{}$", groups::literal(path).replace(is_control, "."))
}

#[cfg(test)]
mod tests {
    use super::super::samples::Sample;
    use super::*;
    use crate::groups::{Groups, LayerGroup};

    fn machine(mut sample: Sample, machine: u16) -> Sample {
        sample.files.last_mut().unwrap().machine = Some(machine);
        sample
    }

    fn advice(sample: &Sample) -> Option<Advice> {
        advise(&DividedImage::new(&sample.image()).unwrap().unwrap())
    }

    const X86_64: u16 = 62;
    const AARCH64: u16 = 183;
    const CUDA: u16 = 190;

    fn sample() -> Sample {
        let sample = machine(Sample::new(&[]).of("torch", "torch/x+(1).so", 300), AARCH64);
        let sample = machine(sample.of("torch", "torch/y.so", 1000), X86_64);
        let mut sample = machine(machine(sample.own("kernel.bin", 50), CUDA).own("tool", 500), AARCH64);
        sample.cpu = Some("x86_64".into());
        sample
    }

    #[test]
    fn programs_for_other_processors_are_excluded() {
        let mut sample = sample();
        sample.exclude.push("/docs/".into());
        let found = advice(&sample).unwrap();
        assert_eq!(
            found.detail,
            "2 files of _main, torch are not for x86_64, such as app/.runfiles/_main/tool."
        );
        assert_eq!(found.saves, "800 B compressed");
        let after = sample.with(&found.paste);
        assert_eq!(after.exclude[0], "/docs/");
        assert_eq!(after.exclude.len(), 3);
        assert_eq!(advice(&after), None);
        assert_eq!(after.image().partition.unwrap().left_out.len(), 2);
    }

    #[test]
    fn unknown_and_matching_processors_are_no_problem() {
        let mut sample = sample();
        sample.cpu = None;
        assert_eq!(advice(&sample), None);
        sample.cpu = Some("z80".into());
        assert_eq!(advice(&sample), None);
        sample.cpu = Some("aarch64".into());
        assert!(advice(&sample).unwrap().detail.starts_with("1 file of torch is not for aarch64"));
    }

    #[test]
    fn the_largest_of_many_files_are_excluded() {
        let mut sample = (0..30).fold(Sample::new(&[]), |sample, number| {
            machine(sample.own(&format!("{number}.so"), number), AARCH64)
        });
        sample.cpu = Some("x86_64".into());
        let found = advice(&sample).unwrap();
        assert!(found.detail.ends_with("The lines exclude the 20 largest."), "{}", found.detail);
        let after = sample.with(&found.paste).image();
        let kept: u64 = super::super::sum(after.layers.iter().map(|layer| layer.size));
        assert_eq!(kept, (0..10).sum::<u64>());
    }

    #[test]
    fn any_path_becomes_one_line_that_matches_it() {
        for path in [&b"app/a b"[..], b"app/\xc3\xa9\xff", b"app/x\ny\t\"\\", b"a|b$(c)[d]{2}.+*?^~&-#"] {
            let pattern = path_pattern(path);
            assert!(!pattern.contains(char::is_control), "{pattern}");
            let groups = Groups { layer_groups: vec![LayerGroup::new("x", &pattern)], ..Groups::default() };
            let compiled = groups::LayerGroups::compile(&groups, &[]).unwrap();
            assert_eq!(compiled.matching(&[b"./", path].concat()), [0], "{pattern}");
        }
    }
}
