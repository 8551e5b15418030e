//! Validation of an image's layers, from real layers to the report.

use std::collections::BTreeMap;
use std::fs;
use std::process::Output;

use serde_json::{Value, json};

use crate::support::worker::{Work, Worker};
use crate::support::{self, Manifest, Outputs, Workspace};

/// The layers of a small image by name, and the arguments of the action that validates them.
struct Image {
    workspace: Workspace,
    listings: BTreeMap<&'static str, String>,
    arguments: Vec<String>,
    /// The settings of the validation.
    settings: Value,
}

/// How a line begins that reports a bug.
const CONTENTS: &str = "file missing, repeated or in the wrong layer: ";

const SETTINGS: [&str; 3] =
    ["--layer-group=interpreter=/py/", "--layer-group=packages=/site-packages/", r"--exclude=\.whl$"];

impl Image {
    /// An image with entries of every kind, as the program writes it.
    fn new() -> Image {
        Image::with_options(&[])
    }

    /// The same image, with additional options for all actions.
    fn with_options(more: &[&str]) -> Image {
        let mut extension = [0; 64];
        extension[..6].copy_from_slice(b"\x7fELF\x02\x01");
        extension[18] = 62;
        let workspace = Workspace::new();
        workspace.write("in/main.py", "main");
        workspace.write("in/wheel/core.so", extension);
        workspace.write("in/wheel/sub/a b.py", "a b");
        workspace.write("in/wheel/x.whl", "never");
        workspace.link("in/python3", "../run.runfiles/py/bin/python3");
        workspace.link("in/python", "./python3");
        let manifest = Manifest::new()
            .file("app/run", "in/main.py")
            .file("app/run.runfiles/main.py", "in/main.py")
            .empty("app/run.runfiles/__init__.py")
            .tree("app/run.runfiles/site-packages", "in/wheel")
            .symlink("app/run.runfiles/lib", "site-packages/sub")
            .symlink("app/run.runfiles/a.py", "lib/a b.py")
            .declared_symlink("app/venv/python3", "in/python3")
            .declared_symlink("app/venv/python", "in/python")
            .file("app/run.runfiles/py/bin/python3.11", "in/wheel/core.so")
            .symlink("app/run.runfiles/py/bin/python3", "python3.11");
        let mut listings = BTreeMap::new();
        for layer in ["interpreter", "packages", "default"] {
            let layer_option = format!("--layer={layer}");
            let options = [&SETTINGS[..], more, &["--root=/app", &layer_option]].concat();
            workspace.run(&manifest, &options);
            listings.insert(layer, Outputs::read(&workspace.path("out")).listing);
        }
        for output in support::OUTPUTS {
            fs::remove_file(workspace.path("out").join(output)).unwrap();
        }
        let (settings, groups, _) = support::settings(&[&SETTINGS[..], more].concat());
        let settings = format!("--settings={}", workspace.settings_file(&settings));
        let groups = format!("--groups={}", workspace.settings_file(&groups));
        let mut arguments =
            ["--validation=out/report", "--manifest=manifest", &settings, &groups].map(String::from).to_vec();
        arguments.extend(listings.keys().map(|layer| format!("--layer_listing={layer}=listings/{layer}")));
        Image { workspace, listings, arguments, settings: json!({"cpu": "x86_64"}) }
    }

    /// Replaces `old`, which must exist, with `new` in the listing of `layer`.
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

    /// The lines of the report. Checks that they are the same for errors and warnings.
    fn report(&self) -> Vec<String> {
        let failed = self.run("error");
        let lenient = self.run("warn");
        assert_eq!((failed.status.code(), lenient.status.code()), (Some(1), Some(0)));
        let way_out = "  to build anyway, set validation = \"warn\"; to accept single paths, name them in validation_exceptions\n";
        let message = String::from_utf8(failed.stderr).unwrap();
        assert_eq!(message, String::from_utf8(lenient.stderr).unwrap() + way_out);
        let report = fs::read_to_string(self.workspace.path("out/report")).unwrap();
        let count = report.lines().count();
        let problems = if count == 1 { "problem" } else { "problems" };
        let headline = format!(
            "pylayer: validation found {count} {problems} in the image's layers, listed in out/report\n"
        );
        assert!(message.starts_with(&headline), "{message}");
        report.lines().map(String::from).collect()
    }

    /// The arguments of the action, after writing the settings.
    fn arguments(&self) -> Vec<String> {
        self.arguments_with(&self.settings)
    }

    /// The same, with another value of the setting `validation`.
    fn arguments_if_wrong(&self, validation: &str) -> Vec<String> {
        let mut settings = self.settings.clone();
        settings["validation"] = json!(validation);
        self.arguments_with(&settings)
    }

    fn arguments_with(&self, settings: &Value) -> Vec<String> {
        let settings = format!("--validation_settings={}", self.workspace.settings_file(settings));
        [&self.arguments[..], &[settings]].concat()
    }

    /// Validates, and writes a new report.
    fn run(&self, validation: &str) -> Output {
        self.write_listings();
        let _ = fs::remove_file(self.workspace.path("out/report"));
        let output = self.workspace.command(&self.arguments_if_wrong(validation)).output().unwrap();
        assert_eq!(self.workspace.leftovers(), ["report"]);
        output
    }

    /// The only line of the report.
    fn only_finding(&self) -> String {
        let mut report = self.report();
        assert_eq!(report.len(), 1, "{report:#?}");
        report.remove(0)
    }

    fn is_right(&self) {
        let output = self.run("error");
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        assert_eq!(fs::read(self.workspace.path("out/report")).unwrap(), b"");
    }
}

#[test]
fn what_the_program_writes_is_right() {
    let image = Image::new();
    image.is_right();
    assert!(image.run("warn").stderr.is_empty());
}

#[test]
fn a_worker_finds_the_same() {
    let image = Image::new().edit("default", "link=lib/", "link=lob/");
    let outputs = ["error", "warn"].map(|severity| image.run(severity));
    let mut worker = Worker::start(&std::env::temp_dir());
    for (id, (severity, output)) in (1..).zip(["error", "warn"].into_iter().zip(outputs)) {
        fs::remove_file(image.workspace.path("out/report")).unwrap();
        let arguments = image.arguments_if_wrong(severity);
        let sandbox_dir = image.workspace.sandbox_dir();
        worker.send(&Work { id, arguments, sandbox_dir, ..Work::default() });
        let response = worker.receive();
        let expected = (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap());
        assert_eq!((response.exit_code, response.output), expected);
        assert_eq!(image.workspace.leftovers(), ["report"]);
    }
    worker.close();
}

#[test]
fn a_dropped_group_is_not_missed() {
    let mut image = Image::new();
    image.arguments.retain(|argument| !argument.starts_with("--layer_listing=interpreter="));
    let report = image.report();
    let missing = "app/run.runfiles/py/bin/python3 belongs to layer interpreter but is in none";
    assert!(report.contains(&format!("{CONTENTS}{missing}")), "{report:#?}");

    // Links into the dropped group are accepted too: the base image may have its files.
    image.settings["dropped"] = json!(["interpreter"]);
    image.is_right();
}

#[test]
fn links_to_what_is_excluded_are_left_out_with_it() {
    let image = Image::with_options(&["--exclude=/py/bin/python3"]);
    assert!(image.listings["default"].ends_with(
        "#excluded link=../run.runfiles/py/bin/python3 ./app/venv/python3\n\
         #excluded link=./python3 ./app/venv/python\n"
    ));
    image.is_right();
    let image = image.edit("default", "#excluded link=../run.runfiles/py/", "#excluded link=../");
    assert_eq!(
        image.report(),
        [
            "app/venv/python -> ./python3 is not in layer default although it is not excluded",
            "app/venv/python belongs to layer default but is in none",
            "app/venv/python3 -> ../bin/python3 is not in layer default although it is not excluded",
            "app/venv/python3 belongs to layer default but is in none",
        ]
        .map(|line| format!("{CONTENTS}{line}"))
    );
}

#[test]
fn links_to_excluded_paths_in_no_layer_are_accepted() {
    // No pattern matches the directory that the link points to, but all files in it are excluded.
    let image = Image::with_options(&["--exclude=site-packages/sub/a b"]);
    assert!(!image.listings["packages"].contains("sub"));
    assert!(image.listings["default"].contains("link=site-packages/sub"));
    image.is_right();
}

#[test]
fn the_manifests_of_all_layers_are_as_good_as_one() {
    let mut image = Image::new();
    let text = String::from_utf8(fs::read(image.workspace.path("manifest")).unwrap()).unwrap();
    // The tree's files may belong to two layers.
    let (tree, others): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with("t\t"));
    let (first, second) = others.split_at(4);
    for (name, lines) in [("first", first), ("second", second)] {
        image.workspace.write(name, [lines, &tree].concat().join("\n"));
    }
    image.arguments.retain(|argument| argument != "--manifest=manifest");
    image.arguments.extend(["--manifest=first", "--manifest=second"].map(String::from));
    let paths = text.lines().count();
    let run = |image: &mut Image, paths: usize| {
        image.settings["paths"] = json!(paths);
        image.write_listings();
        image.workspace.command(&image.arguments()).output().unwrap()
    };
    assert!(run(&mut image, paths).status.success());
    fs::remove_file(image.workspace.path("out/report")).unwrap();

    // A path that the rule has lost is in no manifest, and is detected by the count.
    let output = run(&mut image, paths + 1);
    let message = String::from_utf8(output.stderr).unwrap();
    let lost = format!("the binary has {} runfiles, but the manifests of its layers have {paths}", paths + 1);
    assert!(!output.status.success() && message.contains(&lost), "{message}");
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
    let missing = "app/run.runfiles/site-packages/core.so belongs to layer packages but is in none";
    assert_eq!(image.only_finding(), format!("{CONTENTS}{missing}"));
}

#[test]
fn a_file_in_the_wrong_layer_is_found() {
    let image = Image::new();
    let line = image.line("default", "./app/run.runfiles/__init__.py");
    let image = image.edit("default", &line, "").edit("packages", "#mtree\n", &format!("#mtree\n{line}"));
    let wrong = "app/run.runfiles/__init__.py belongs to layer default but is in packages";
    assert_eq!(image.only_finding(), format!("{CONTENTS}{wrong}"));
}

#[test]
fn a_file_in_two_layers_is_found() {
    let image = Image::new();
    let line = image.line("default", "./app/run.runfiles/main.py");
    let report = image.edit("packages", "#mtree\n", &format!("#mtree\n{line}")).report();
    let twice = "app/run.runfiles/main.py is in layers default and packages";
    assert!(report.contains(&format!("{CONTENTS}{twice}")), "{report:#?}");
}

#[test]
fn a_file_that_is_twice_in_a_layer_is_found() {
    let image = Image::new();
    let line = image.line("default", "./app/run.runfiles/main.py");
    let image = image.edit("default", &line, &line.repeat(2));
    let twice = "app/run.runfiles/main.py occurs twice in layer default";
    assert_eq!(image.only_finding(), format!("{CONTENTS}{twice}"));
}

#[test]
fn an_excluded_file_is_found() {
    let image = Image::new();
    let image = image.edit("packages", "site-packages/sub/a\\040b.py", "site-packages/sub/x.whl");
    let report = image.report();
    for line in [
        "app/run.runfiles/site-packages/sub/x.whl is in layer packages but is not a runfile, or is excluded",
        "app/run.runfiles/site-packages/sub/a b.py belongs to layer packages but is in none",
    ] {
        assert!(report.contains(&format!("{CONTENTS}{line}")), "{report:#?}");
    }
}

#[test]
fn dangling_links_are_found() {
    for (target, problem) in [
        ("lib/c.py", "symlink to a path that is not in the image"),
        ("../../../x", "symlink that points outside the image"),
        ("main.py/x", "symlink that uses a file as a directory"),
        ("a.py", "symlink loop, or a chain of more than 40 symlinks"),
    ] {
        let image = Image::new().edit("default", "link=lib/a\\040b.py", &format!("link={target}"));
        let expected = format!("{problem}: app/run.runfiles/a.py -> {target} (layer default)");
        assert_eq!(image.only_finding(), expected);
    }
}

#[test]
fn a_file_where_another_layer_has_a_directory_is_found() {
    let directory = "#mtree\n./app/run.runfiles/main.py/ type=dir mode=0755\n";
    let image = Image::new().edit("interpreter", "#mtree\n", directory);
    assert_eq!(
        image.only_finding(),
        "file or symlink in one layer, directory in another: app/run.runfiles/main.py (layer default)"
    );
}

#[test]
fn a_file_for_another_processor_is_found() {
    let mut image = Image::new().edit("packages", "#elf machine=62 ", "#elf machine=183 ");
    assert_eq!(
        image.only_finding(),
        "file for another processor than x86_64, the image's: app/run.runfiles/site-packages/core.so is for aarch64 (layer packages)"
    );
    image.settings["cpu"] = json!(null);
    image.is_right();
}

#[test]
fn a_binary_for_the_right_processor_does_not_excuse_its_neighbours() {
    let both =
        "#elf machine=62 ./app/run.runfiles/main.py\n#elf machine=183 ./app/run.runfiles/__init__.py\n";
    let mut image = Image::new();
    let listing = image.listings.get_mut("default").unwrap();
    assert!(
        listing.contains("./app/run.runfiles/main.py ")
            && listing.contains("./app/run.runfiles/__init__.py "),
        "{listing}"
    );
    listing.push_str(both);
    image.is_right();
    image.settings["executables"] = json!(["app/run.runfiles/main.py"]);
    assert!(image.only_finding().contains("app/run.runfiles/__init__.py is for aarch64"));
}

#[test]
fn code_for_a_gpu_is_no_file_for_another_processor() {
    Image::new().edit("packages", "#elf machine=62 ", "#elf machine=190 ").is_right();
}

#[test]
fn a_message_is_bounded_and_the_report_is_not() {
    let line = |n: usize| {
        format!("./app/run.runfiles/links/{n} type=link link={}{n} mode=0777\n", "x/".repeat(1500))
    };
    let lines: String = (0..1000).map(line).collect();
    let image = Image::new().edit("default", "#mtree\n", &format!("#mtree\n{lines}"));
    assert_eq!(image.report().len(), 2000);
    let message = image.run("error").stderr;
    assert!(message.len() < 64 << 10, "{} bytes", message.len());
    assert!(message.iter().filter(|byte| **byte == b'\n').count() < 100);
}

#[test]
fn a_list_for_prefetch_that_names_no_file_is_a_warning() {
    let mut image = Image::new();
    image.arguments.push("--prefetch=list".into());
    for list in ["", "# nothing\n", "other.py\na b.py\n", "/app/run.runfiles/main.py\n", "app/run\n"] {
        image.workspace.write("list", list);
        image.is_right();
    }
    // The end of a file's name, a directory, and the beginning of a path.
    image.workspace.write("list", "# recorded\nb.py\nrun.runfiles\napp/run.runfiles/main\n");
    let output = image.run("error");
    assert!(output.status.success());
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "pylayer: no file of the image is in the prefetch list, which begins with b.py: each line is a file's path, or the end of it; record the list again\n"
    );
    image.workspace.write("list", "a\n../b\n");
    fs::remove_file(image.workspace.path("out/report")).unwrap();
    let message = image.workspace.error_of(&mut image.workspace.command(&image.arguments()));
    assert!(message.starts_with("pylayer: list: line 2: "), "{message}");
}

#[test]
fn exceptions_accept_single_paths() {
    let mut image = Image::new().edit("packages", "#elf machine=62 ", "#elf machine=183 ").edit(
        "default",
        "link=lib/",
        "link=lob/",
    );
    assert_eq!(image.report().len(), 2);
    let accept =
        |image: &mut Image, patterns: &[&str]| image.settings["validation_exceptions"] = json!(patterns);
    accept(&mut image, &[r"/core\.so$"]);
    assert!(image.only_finding().contains("a.py -> lob/"));
    accept(&mut image, &[r"/core\.so$", "/a.py$"]);
    image.is_right();

    accept(&mut image, &[r"/core\.so$", "/a.py$", "/b.py$"]);
    let output = image.run("error");
    assert!(output.status.success());
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "pylayer: no problem was found at a path that matches \"/b.py$\": remove unneeded patterns from validation_exceptions\n"
    );

    accept(&mut image, &["("]);
    fs::remove_file(image.workspace.path("out/report")).unwrap();
    let message = image.workspace.error_of(&mut image.workspace.command(&image.arguments()));
    assert!(
        message.starts_with(
            "pylayer: the pattern of validation_exceptions \"(\" is not a valid regular expression"
        ),
        "{message}"
    );
}

#[test]
fn a_malformed_listing_is_named() {
    let image = Image::new().edit("packages", "type=dir", "type=socket");
    image.write_listings();
    let message = image.workspace.error_of(&mut image.workspace.command(&image.arguments()));
    assert!(
        message.starts_with("pylayer: listings/packages: line 2 of the listing is malformed: "),
        "{message}"
    );
    fs::remove_file(image.workspace.path("listings/packages")).unwrap();
    let message = image.workspace.error_of(&mut image.workspace.command(&image.arguments()));
    assert!(message.starts_with("pylayer: cannot read listings/packages: "), "{message}");
}
