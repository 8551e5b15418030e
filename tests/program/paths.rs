//! Paths of inputs and outputs: which ones are valid, and where they may lead.

use std::fs;
use std::os::unix::fs::symlink;

use crate::support::readers::{directory, file, symlink as link};
use crate::support::worker::{Work, Worker};
use crate::support::{Manifest, OUTPUTS, Workspace};

/// Two directories, `above/below` and `above/repository`, next to files that no action may access.
struct Place(Workspace);

impl Place {
    fn new() -> Place {
        let place = Place(Workspace::new());
        place.0.write("secret", "secret");
        place.0.write("secrets/manifest", "f\tapp/x\tx\n");
        place.0.write("above/repository/x", "x");
        place.0.write("above/below/in/x", "x");
        fs::create_dir(place.0.path("above/below/out")).unwrap();
        place
    }

    /// The response of a worker in `above/below`.
    fn ask(&self, manifest: &Manifest, change: impl Fn(&mut Vec<String>)) -> (i32, String) {
        self.ask_in("above/below", "", manifest, change)
    }

    fn ask_in(
        &self,
        working_directory: &str,
        sandbox_dir: &str,
        manifest: &Manifest,
        change: impl Fn(&mut Vec<String>),
    ) -> (i32, String) {
        let mut arguments = self.0.arguments(manifest, &["--compress=none"]);
        let settings = arguments.iter_mut().find(|argument| argument.starts_with("--settings=")).unwrap();
        let written = settings.strip_prefix("--settings=").unwrap().to_string();
        *settings = "--settings=settings".to_string();
        for (from, to) in [("manifest", "manifest"), (&written, "settings")] {
            fs::rename(self.0.path(from), self.0.path(format!("above/below/{to}"))).unwrap();
        }
        change(&mut arguments);
        let mut worker = Worker::start(&self.0.path(working_directory));
        let sandbox_dir = sandbox_dir.to_string();
        worker.send(&Work { id: 1, arguments, sandbox_dir, ..Work::default() });
        let response = worker.receive();
        worker.close();
        (response.exit_code, response.output)
    }

    /// All files except the manifest and the settings that were written last.
    fn files(&self) -> Vec<String> {
        let mut directories = vec![self.0.path("")];
        let mut files = Vec::new();
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    directories.push(path);
                } else if !path.ends_with("below/manifest") && !path.ends_with("below/settings") {
                    files.push(path.strip_prefix(self.0.path("")).unwrap().to_str().unwrap().to_string());
                }
            }
        }
        files.sort();
        files
    }
}

/// Replaces the value of the argument `name`.
fn set(arguments: &mut Vec<String>, name: &str, value: &str) {
    arguments.retain(|argument| !argument.starts_with(&format!("{name}=")));
    arguments.push(format!("{name}={value}"));
}

#[test]
fn outputs_are_below_the_working_directory() {
    let place = Place::new();
    let before = place.files();
    let manifest = Manifest::new().file("app/x", "in/x");
    let absolute = place.0.path("elsewhere").into_os_string().into_string().unwrap();
    for name in ["--output", "--descriptor", "--listing", "--validation"] {
        for (value, problem) in [
            (absolute.as_str(), "it is absolute; make it relative to the directory in which the action runs"),
            (
                "../elsewhere",
                "`..` leads outside the directory in which the action runs, where its outputs belong",
            ),
            ("out/../../repository/x", "`..` leads outside"),
            ("", "it is empty"),
        ] {
            let (exit_code, output) = place.ask(&manifest, |arguments| set(arguments, name, value));
            assert_eq!(exit_code, 1, "{name}={value}");
            assert!(output.starts_with(&format!("pylayer: {name}={value}: {problem}")), "{output}");
            assert_eq!(place.files(), before, "{name}={value}");
        }
    }
}

#[test]
fn inputs_are_below_the_working_directory() {
    let place = Place::new();
    let before = place.files();
    let absolute = place.0.path("secret").into_os_string().into_string().unwrap();
    for (source, problem) in [
        (absolute.as_str(), "it is absolute; make it relative to the directory in which the action runs"),
        (
            "../../secret",
            "`..` leads outside the directory in which the action runs; only source files of other",
        ),
        ("../repository/../../secret", "`..` leads outside"),
        ("in/../../../secret", "`..` leads outside"),
        ("..", "`..` leads outside"),
        ("../", "`..` leads outside"),
        ("../.", "`..` leads outside"),
        ("", "it is empty"),
    ] {
        let new = Manifest::new;
        let ok = new().empty("app/e");
        for manifest in [
            new().file("app/x", source),
            new().tree("app/x", source),
            new().declared_symlink("app/x", source),
        ] {
            let (exit_code, output) = place.ask(&ok.clone().and(manifest), |_| ());
            let message = format!("pylayer: line 2 of the manifest: exec path {source:?}: {problem}");
            assert!(exit_code == 1 && output.starts_with(&message), "{output}");
        }
        for name in ["--manifest", "--settings", "--groups", "--flagfile", "@", "--layer_listing"] {
            let (exit_code, output) = place.ask(&ok, |arguments| match name {
                "@" => arguments.push(format!("@{source}")),
                "--layer_listing" => arguments.push(format!("{name}=default={source}")),
                _ => set(arguments, name, source),
            });
            let name = if name == "@" { "--flagfile" } else { name };
            assert!(exit_code == 1 && output.starts_with(&format!("pylayer: {name}=")), "{output}");
            assert!(output.contains(problem), "{output}");
        }
        assert_eq!(place.files(), before, "{source:?}");
    }
}

#[test]
fn a_process_for_one_action_has_the_same_rules() {
    let workspace = Workspace::new();
    let absolute = workspace.path("in").into_os_string().into_string().unwrap();
    workspace.write("in", "x");
    let message = workspace.error(&Manifest::new().file("app/x", &absolute), &[]);
    assert!(message.starts_with("pylayer: line 1 of the manifest: exec path "), "{message}");
    let message = workspace.error(&Manifest::new().file("app/x", "../in"), &["--root=/app"]);
    assert!(message.contains("cannot read ../in"), "{message}");
}

#[test]
fn source_files_of_sibling_repositories_are_inputs() {
    let place = Place::new();
    let manifest = Manifest::new().file("app/x", "../repository/x").tree("app/tree", "../repository");
    for (working_directory, sandbox_dir) in [("above/below", ""), ("", "above/below")] {
        let answer = place.ask_in(working_directory, sandbox_dir, &manifest, |_| ());
        assert_eq!(answer, (0, String::new()));
        let members = crate::support::readers::members(&place.0.path("above/below/out/layer"));
        let expected =
            [directory("./app"), directory("./app/tree"), file("./app/tree/x", "x"), file("./app/x", "x")];
        assert_eq!(members, expected);
        for output in OUTPUTS {
            fs::remove_file(place.0.path(format!("above/below/out/{output}"))).unwrap();
        }
    }
}

#[test]
fn a_sandbox_is_below_the_working_directory() {
    let place = Place::new();
    let before = place.files();
    let manifest = Manifest::new().file("app/x", "in/x");
    let absolute = place.0.path("above/below").into_os_string().into_string().unwrap();
    for (sandbox_dir, problem) in [
        (absolute.as_str(), "it is absolute"),
        ("../below", "`..` leads outside the worker's directory, where the sandboxes are"),
        ("in/../../below", "`..` leads outside"),
    ] {
        let (exit_code, output) = place.ask_in("above/below", sandbox_dir, &manifest, |_| ());
        let message =
            format!("pylayer: invalid sandbox_dir in the work request: exec path {sandbox_dir:?}: {problem}");
        assert!(exit_code == 1 && output.starts_with(&message), "{output}");
        assert_eq!(place.files(), before);
    }
}

/// In a sandbox, every input is a link to the actual file.
#[test]
fn links_of_inputs_are_followed_wherever_they_lead() {
    let place = Place::new();
    place.0.link("above/below/in/relative", "../../repository/x");
    place.0.link("above/below/in/absolute", place.0.path("above/repository").as_os_str().as_encoded_bytes());
    let manifest = Manifest::new().tree("app", "in").file("app/link", "in/relative");
    assert_eq!(place.ask(&manifest, |_| ()), (0, String::new()));
    let members = crate::support::readers::members(&place.0.path("above/below/out/layer"));
    let expected = [
        directory("./app"),
        directory("./app/absolute"),
        file("./app/absolute/x", "x"),
        file("./app/link", "x"),
        file("./app/relative", "x"),
        file("./app/x", "x"),
    ];
    assert_eq!(members, expected);
}

/// Targets are resolved in the image, where the same path is another file.
#[test]
fn link_texts_are_not_touched() {
    let workspace = Workspace::new();
    workspace.link("in", "/etc/passwd");
    let manifest =
        Manifest::new().symlink("app/up", "../../../../etc/passwd").declared_symlink("app/absolute", "in");
    let expected = [
        directory("./app"),
        link("./app/absolute", "/etc/passwd"),
        link("./app/up", "../../../../etc/passwd"),
    ];
    assert_eq!(workspace.members(&manifest, &[]), expected);
}

/// If both were unpacked, the file would be written to the link's target.
#[test]
fn nothing_is_below_a_link() {
    let workspace = Workspace::new();
    workspace.write("in", "x");
    let message =
        workspace.error(&Manifest::new().symlink("app/etc", "/etc").file("app/etc/passwd", "in"), &[]);
    assert!(
        message.contains("app/etc is both a file and a directory (app/etc/passwd is inside it)"),
        "{message}"
    );
}

#[test]
fn an_output_replaces_a_link_and_not_what_it_leads_to() {
    let workspace = Workspace::new();
    workspace.write("precious", "precious");
    symlink(workspace.path("precious"), workspace.path("out/layer")).unwrap();
    workspace.outputs(&Manifest::new().empty("app/e"), &[]);
    assert_eq!(fs::read(workspace.path("precious")).unwrap(), b"precious");
    assert!(fs::symlink_metadata(workspace.path("out/layer")).unwrap().is_file());
}
