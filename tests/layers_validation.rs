//! The proof that the layers of an image are right, from real layers to the report.

mod support;

use std::collections::BTreeMap;
use std::fs;

use support::worker::{Work, Worker};
use support::{Manifest, Workspace};

/// The layers of a small image by name, and the arguments of the action that validates them.
struct Image {
    workspace: Workspace,
    listings: BTreeMap<&'static str, String>,
    arguments: Vec<String>,
}

const SETTINGS: [&str; 3] =
    ["--group=interpreter=/py/", "--group=packages=/site-packages/", r"--exclude=\.whl$"];

impl Image {
    /// An image with something of everything, the way the program writes it.
    fn new() -> Image {
        let mut extension = [0; 64];
        extension[..6].copy_from_slice(b"\x7fELF\x02\x01");
        extension[18] = 62;
        let workspace = Workspace::new();
        workspace.write("in/main.py", "main");
        workspace.write("in/wheel/core.so", extension);
        workspace.write("in/wheel/sub/a b.py", "a b");
        workspace.write("in/wheel/x.whl", "never");
        workspace.link("in/python3", "../run.runfiles/py/bin/python3");
        let manifest = Manifest::new()
            .file("app/run", "in/main.py")
            .file("app/run.runfiles/main.py", "in/main.py")
            .empty("app/run.runfiles/__init__.py")
            .tree("app/run.runfiles/site-packages", "in/wheel")
            .symlink("app/run.runfiles/lib", "site-packages/sub")
            .symlink("app/run.runfiles/a.py", "lib/a b.py")
            .declared_symlink("app/venv/python3", "in/python3")
            .file("app/run.runfiles/py/bin/python3.11", "in/wheel/core.so")
            .symlink("app/run.runfiles/py/bin/python3", "python3.11");
        let mut listings = BTreeMap::new();
        for layer in ["interpreter", "packages", "default"] {
            let layer_option = format!("--layer={layer}");
            let options = [&SETTINGS[..], &["--root=/app", &layer_option]].concat();
            listings.insert(layer, workspace.outputs(&manifest, &options).listing);
        }
        for output in support::OUTPUTS {
            fs::remove_file(workspace.path("out").join(output)).unwrap();
        }
        let mut arguments = ["--validation=out/report", "--manifest=manifest", "--machine=62"].to_vec();
        arguments.extend(SETTINGS);
        let listed = listings.keys().map(|layer| format!("--layer_listing={layer}=listings/{layer}"));
        let arguments = arguments.into_iter().map(String::from).chain(listed).collect();
        Image { workspace, listings, arguments }
    }

    /// Replaces `old`, which is there, by `new` in the listing of `layer`.
    fn edit(mut self, layer: &'static str, old: &str, new: &str) -> Image {
        let listing = self.listings.get_mut(layer).unwrap();
        assert!(listing.contains(old), "{listing}");
        *listing = listing.replacen(old, new, 1);
        self
    }

    /// The line of the listing of `layer` that begins with `start`.
    fn line(&self, layer: &str, start: &str) -> String {
        let line = self.listings[layer].lines().find(|line| line.starts_with(start)).unwrap();
        format!("{line}\n")
    }

    fn write_listings(&self) {
        for (layer, listing) in &self.listings {
            self.workspace.write(format!("listings/{layer}"), listing);
        }
    }

    /// The violations, which are the same whether they are errors or warnings.
    fn violations(&self) -> Vec<String> {
        self.write_listings();
        let message = self.workspace.error_of(&mut self.workspace.command(&self.arguments));
        let way_out = "pylayer: the layers are not what the binary asks for (attribute validation: \"warn\" to build all the same)\n";
        let lines = message.strip_prefix(way_out).unwrap_or_else(|| panic!("{message}"));
        let violations: Vec<String> = lines.lines().map(|line| line.trim().to_string()).collect();

        let lenient = [&self.arguments[..], &["--severity=warn".to_string()]].concat();
        let output = self.workspace.command(&lenient).output().unwrap();
        assert!(output.status.success());
        let joined = |prefix: &str| -> String {
            violations.iter().map(|violation| format!("{prefix}{violation}\n")).collect()
        };
        assert_eq!(String::from_utf8(output.stderr).unwrap(), joined("pylayer: "));
        assert_eq!(fs::read_to_string(self.workspace.path("out/report")).unwrap(), joined(""));
        fs::remove_file(self.workspace.path("out/report")).unwrap();
        violations
    }

    /// The only violation.
    fn violation(&self) -> String {
        let mut violations = self.violations();
        assert_eq!(violations.len(), 1, "{violations:#?}");
        violations.remove(0)
    }
}

#[test]
fn what_the_program_writes_is_right() {
    let image = Image::new();
    image.write_listings();
    for severity in [&[][..], &["--severity=error".to_string()], &["--severity=warn".to_string()]] {
        let arguments = [&image.arguments, severity].concat();
        let output = image.workspace.command(&arguments).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        assert_eq!(fs::read(image.workspace.path("out/report")).unwrap(), b"");
        assert_eq!(image.workspace.leftovers(), ["report"]);
    }
}

#[test]
fn a_worker_finds_the_same() {
    let image = Image::new().edit("default", "link=lib/", "link=lob/");
    image.write_listings();
    let expected = format!("pylayer: {}\n", image.violation());
    let mut worker = Worker::start(&std::env::temp_dir());
    let mut arguments = image.arguments.clone();
    arguments.push("--severity=warn".to_string());
    let sandbox_dir = image.workspace.sandbox_dir();
    worker.send(&Work { id: 1, arguments, sandbox_dir, ..Work::default() });
    let response = worker.receive();
    assert_eq!((response.exit_code, response.output), (0, expected));
    assert_eq!(image.workspace.leftovers(), ["report"]);
    worker.close();
}

#[test]
fn a_dropped_group_is_not_missed() {
    let mut image = Image::new();
    image.arguments.retain(|argument| !argument.starts_with("--layer_listing=interpreter="));
    let violations = image.violations();
    assert!(violations.iter().any(|line| {
        line.starts_with("app/run.runfiles/py/bin/python3 belongs to layer interpreter but is in none")
    }));

    image.arguments.push("--dropped=interpreter".to_string());
    // What is missed then is only where a link of another layer leads.
    assert_eq!(
        image.violation(),
        "app/venv/python3 in layer default is a symlink to ../run.runfiles/py/bin/python3, which is not in the image; add the target to the binary's data, or exclude the link"
    );
}

#[test]
fn a_missing_file_is_found() {
    let image = Image::new();
    let line = image.line("packages", "./app/run.runfiles/site-packages/core.so");
    let image = image.edit("packages", &line, "").edit(
        "packages",
        "#elf machine=62 ./app/run.runfiles/site-packages/core.so\n",
        "",
    );
    assert!(
        image
            .violation()
            .starts_with("app/run.runfiles/site-packages/core.so belongs to layer packages but is in none")
    );
}

#[test]
fn a_file_in_the_wrong_layer_is_found() {
    let image = Image::new();
    let line = image.line("default", "./app/run.runfiles/__init__.py");
    let image = image.edit("default", &line, "").edit("packages", "#mtree\n", &format!("#mtree\n{line}"));
    assert!(
        image
            .violation()
            .starts_with("app/run.runfiles/__init__.py belongs to layer default but is in packages")
    );
}

#[test]
fn a_file_in_two_layers_is_found() {
    let image = Image::new();
    let line = image.line("default", "./app/run.runfiles/main.py");
    let violations = image.edit("packages", "#mtree\n", &format!("#mtree\n{line}")).violations();
    assert!(
        violations[0].starts_with("app/run.runfiles/main.py is in the layers default and packages"),
        "{violations:#?}"
    );
}

#[test]
fn a_file_that_is_twice_in_a_layer_is_found() {
    let image = Image::new();
    let line = image.line("default", "./app/run.runfiles/main.py");
    let image = image.edit("default", &line, &line.repeat(2));
    assert!(image.violation().starts_with("app/run.runfiles/main.py is twice in layer default"));
}

#[test]
fn an_excluded_file_is_found() {
    let image = Image::new();
    let image = image.edit("packages", "site-packages/sub/a\\040b.py", "site-packages/sub/x.whl");
    let violations = image.violations();
    assert!(violations.contains(&"app/run.runfiles/site-packages/sub/x.whl is in layer packages but is no runfile, or an excluded one; this is a bug in pylayer".to_string()), "{violations:#?}");
    assert!(violations.iter().any(|line| {
        line.starts_with("app/run.runfiles/site-packages/sub/a b.py belongs to layer packages but is in none")
    }));
}

#[test]
fn links_that_lead_nowhere_are_found() {
    for (target, problem) in [
        ("lib/c.py", "which is not in the image"),
        ("../../../x", "which leads out of the image"),
        ("main.py/x", "which leads through a file as if it were a directory"),
        ("a.py", "which leads in a circle"),
    ] {
        let image = Image::new().edit("default", "link=lib/a\\040b.py", &format!("link={target}"));
        let expected = format!(
            "app/run.runfiles/a.py in layer default is a symlink to {target}, {problem}; add the target to the binary's data, or exclude the link"
        );
        assert_eq!(image.violation(), expected);
    }
}

#[test]
fn a_file_where_another_layer_has_a_directory_is_found() {
    let directory = "#mtree\n./app/run.runfiles/main.py/ type=dir mode=0755\n";
    let image = Image::new().edit("interpreter", "#mtree\n", directory);
    assert_eq!(
        image.violation(),
        "app/run.runfiles/main.py is a file or link in layer default and a directory elsewhere; exclude one of them"
    );
}

#[test]
fn an_image_for_another_processor_is_found() {
    let image = Image::new().edit("packages", "#elf machine=62 ", "#elf machine=183 ");
    let violation = image.violation();
    assert!(violation.starts_with("app/run.runfiles/site-packages/core.so in layer packages is made for aarch64, the image for x86_64; build the binary for the image's platform"), "{violation}");
    let mut image = image;
    image.arguments.retain(|argument| argument != "--machine=62");
    image.write_listings();
    assert!(image.workspace.command(&image.arguments).status().unwrap().success());
}

#[test]
fn a_listing_that_is_none_is_named() {
    let image = Image::new().edit("packages", "type=dir", "type=socket");
    image.write_listings();
    let message = image.workspace.error_of(&mut image.workspace.command(&image.arguments));
    assert!(
        message.starts_with("pylayer: listings/packages: line 2 of the listing is malformed: "),
        "{message}"
    );
    fs::remove_file(image.workspace.path("listings/packages")).unwrap();
    let message = image.workspace.error_of(&mut image.workspace.command(&image.arguments));
    assert!(message.starts_with("pylayer: cannot read listings/packages: "), "{message}");
}
