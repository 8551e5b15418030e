//! Finding the runfiles.

use std::fs;
use std::os::fd::IntoRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::support::set_mode;
use crate::trees::{Started, Tree, failure};

#[test]
fn beside_an_absolute_path() {
    let tree = Tree::new();
    let started = Started::of(&mut tree.command("app"));
    started.assert_in(tree.path("app.runfiles"));
    assert_eq!((started.arguments.len(), started.environment.len()), (2, 2));
}

#[test]
fn beside_a_relative_path() {
    let tree = Tree::new();
    fs::create_dir(tree.path("below")).unwrap();
    let started = |program: &str, directory: &str| {
        Started::of(Command::new(program).env_clear().current_dir(tree.path(directory)))
    };
    started("./app", "").assert_in(tree.path("app.runfiles"));
    started("../app", "below").assert_in(tree.path("below/../app.runfiles"));
    let relative = tree.path("app").strip_prefix("/").unwrap().to_path_buf();
    Started::of(Command::new(relative).env_clear().current_dir("/")).assert_in(tree.path("app.runfiles"));
}

#[test]
fn by_path_lookup() {
    let tree = Tree::new();
    let started = Started::of(Command::new("app").env_clear().env("PATH", tree.directory()));
    started.assert_in(tree.path("app.runfiles"));
}

#[test]
fn whatever_the_name_in_the_arguments_is() {
    let tree = Tree::new();
    for name in ["", "other", "/bin/sh", "-app", "./x/y"] {
        let started = Started::of(tree.command("app").arg0(name).arg("argument"));
        started.assert_in(tree.path("app.runfiles"));
        assert_eq!(started.arguments[2..], [b"argument"]);
    }
}

#[test]
fn through_links() {
    let tree = Tree::new();
    tree.link("bin/first", "second");
    tree.link("bin/second", tree.path("lib/third").as_os_str().as_encoded_bytes());
    tree.link("lib/third", "../app");
    Started::of(&mut tree.command("bin/first")).assert_in(tree.path("lib/../app.runfiles"));
    Started::of(Command::new("bin/first").env_clear().current_dir(tree.path("")))
        .assert_in(tree.path("lib/../app.runfiles"));
    // The nearest runfiles win.
    tree.runfiles("bin/second.runfiles");
    Started::of(&mut tree.command("bin/first")).assert_in(tree.path("bin/second.runfiles"));
}

/// The directories in a path may be links, too; then only the resolved path leads to the runfiles.
#[test]
fn through_a_link_to_a_directory() {
    let tree = Tree::empty();
    tree.runfiles("tree/app.runfiles");
    tree.launcher("tree/app.runfiles/_main/app/server");
    tree.link("link", "tree/app.runfiles/_main/app");
    Started::of(&mut tree.command("link/server")).assert_in(tree.path("tree/app.runfiles"));
}

#[test]
fn in_the_runfiles_of_another_binary() {
    let tree = Tree::empty();
    tree.runfiles("other.runfiles");
    tree.launcher("other.runfiles/_main/app/server");
    fs::create_dir(tree.path("other.runfiles/_main/app/server.runfiles")).unwrap();
    Started::of(&mut tree.command("other.runfiles/_main/app/server")).assert_in(tree.path("other.runfiles"));
    // A binary with runfiles of its own inside those of another one.
    tree.runfiles("other.runfiles/_main/app/server.runfiles");
    Started::of(&mut tree.command("other.runfiles/_main/app/server"))
        .assert_in(tree.path("other.runfiles/_main/app/server.runfiles"));
}

/// As in a runfiles tree of Bazel, whose files are links to the output tree.
#[test]
fn where_the_launcher_in_the_runfiles_is_a_link() {
    let tree = Tree::empty();
    tree.runfiles("other.runfiles");
    tree.launcher("out/app/server");
    tree.link("other.runfiles/_main/app/server", tree.path("out/app/server").as_os_str().as_encoded_bytes());
    Started::of(&mut tree.command("other.runfiles/_main/app/server")).assert_in(tree.path("other.runfiles"));
}

#[test]
fn the_environment_of_another_binary_does_not_matter() {
    let tree = Tree::new();
    fs::create_dir_all(tree.path("other.runfiles/_main")).unwrap();
    let mut command = tree.command("app");
    command.env("RUNFILES_DIR", tree.path("other.runfiles"));
    command.env("RUNFILES_MANIFEST_FILE", tree.path("other.runfiles_manifest"));
    command.env("RUNFILES_MANIFEST_ONLY", "1").env("PYTHONHOME", "/other").env("VIRTUAL_ENV", "/other");
    let started = Started::of(&mut command);
    started.assert_in(tree.path("app.runfiles"));
    assert_eq!(started.environment.len(), 2);
}

#[test]
fn by_the_environment() {
    let tree = Tree::empty();
    tree.launcher("copied/app");
    tree.runfiles("x.runfiles");
    let started = |name: &str, value: &Path| {
        Started::of(tree.command("copied/app").env(name, value).current_dir(tree.path("copied")))
    };
    started("RUNFILES_DIR", &tree.path("x.runfiles")).assert_in(tree.path("x.runfiles"));
    started("RUNFILES_DIR", Path::new("../x.runfiles/")).assert_in(tree.path("copied/../x.runfiles"));
    for manifest in ["x.runfiles_manifest", "x.runfiles/MANIFEST"] {
        started("RUNFILES_MANIFEST_FILE", &tree.path(manifest)).assert_in(tree.path("x.runfiles"));
        let relative = Path::new("..").join(manifest);
        started("RUNFILES_MANIFEST_FILE", &relative).assert_in(tree.path("copied/../x.runfiles"));
    }
    let wrong = failure(tree.command("copied/app").env("RUNFILES_MANIFEST_FILE", tree.path("x.runfiles")));
    assert_eq!(wrong.0, 127);
}

#[test]
fn in_a_path_of_any_bytes() {
    let tree = Tree::empty();
    let long = "x".repeat(200);
    let long = format!("{long}/{long}/{long}").into_bytes();
    for directory in [&b" with  blanks "[..], b"not UTF-8 \xff\xfe", b"line\nbreak", b"$(x) '\"", &long] {
        let in_directory = |name: &[u8]| [directory, b"/", name].concat();
        tree.runfiles(in_directory(b"app.runfiles"));
        tree.launcher(in_directory(b"app"));
        Started::of(&mut tree.command(in_directory(b"app")))
            .assert_in(tree.path(in_directory(b"app.runfiles")));
    }
}

/// `PATH_MAX` is 4096, with a NUL.
#[test]
fn up_to_the_longest_path() {
    let tree = Tree::empty();
    tree.launcher("app");
    let root = |longest: &str, length: usize| {
        let mut root = tree.path("").into_os_string().into_string().unwrap();
        let rest = format!("/{}/{longest}", crate::trees::VENV).len();
        while root.len() + rest + 200 < length {
            root += &"x".repeat(99);
            root += "/";
        }
        let missing = length - rest - root.len();
        root + &"y".repeat(missing)
    };
    let longest = root("bin/python3", 4095);
    tree.runfiles(&longest);
    Started::of(tree.command("app").env("RUNFILES_DIR", &longest)).assert_in(&longest);

    // The interpreter's path is one byte too long.
    let too_long = root("pyvenv.cfg", 4095);
    tree.write(format!("{too_long}/{}/pyvenv.cfg", crate::trees::VENV), "");
    let (code, message) = failure(tree.command("app").env("RUNFILES_DIR", &too_long));
    assert_eq!(code, 126);
    assert!(message.contains("longer than the 4095 bytes that Linux allows"), "{message}");

    // The name of the file that is looked for is too long already.
    let (code, message) = failure(tree.command("app").env("RUNFILES_DIR", root("pyvenv.cfg", 4096)));
    assert_eq!(code, 127);
    assert!(message.contains("y (File name too long)\n"), "{message}");
}

#[test]
fn from_a_deleted_directory() {
    let tree = Tree::new();
    tree.launcher("copied/app");
    let deleted = |name: &str| {
        let directory = tree.path("deleted");
        fs::create_dir(&directory).unwrap();
        let mut command = tree.command(name);
        command.current_dir(&directory);
        // SAFETY: `rmdir` may be called between fork and exec; nothing is allocated.
        unsafe {
            command.pre_exec(move || {
                let path = directory.as_os_str().as_encoded_bytes();
                let mut terminated = [0_u8; 4096];
                terminated[..path.len()].copy_from_slice(path);
                match libc::rmdir(terminated.as_ptr().cast()) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            })
        };
        command
    };
    Started::of(&mut deleted("app")).assert_in(tree.path("app.runfiles"));
    Started::of(deleted("copied/app").env("RUNFILES_DIR", tree.path("app.runfiles")))
        .assert_in(tree.path("app.runfiles"));
    let (code, message) = failure(deleted("copied/app").env("RUNFILES_DIR", "x.runfiles"));
    assert_eq!(code, 127);
    assert!(message.contains("  x.runfiles (No such file or directory)\n"), "{message}");
}

/// Executed by a file descriptor, which the exec closes, so that no path is known.
#[test]
fn by_the_path_in_proc() {
    let tree = Tree::new();
    let file = fs::File::open(tree.path("app")).unwrap().into_raw_fd();
    let mut command = Command::new("/nonexistent");
    // SAFETY: `execveat` may be called between fork and exec, with strings and arrays that end as they
    // should.
    unsafe {
        command.pre_exec(move || {
            let (arguments, environment) = ([c"app".as_ptr(), std::ptr::null()], [std::ptr::null::<u8>()]);
            libc::syscall(
                libc::SYS_execveat,
                file,
                c"".as_ptr(),
                arguments.as_ptr(),
                environment.as_ptr(),
                libc::AT_EMPTY_PATH,
            );
            Err(std::io::Error::last_os_error())
        })
    };
    Started::of(&mut command).assert_in(tree.path("app.runfiles"));
}

/// An image with nothing but the binary: no `/proc`, no libc, no shell, no writable directory.
#[test]
fn in_an_empty_image() {
    let tree = Tree::new();
    for directory in ["app.runfiles/_main/app", "app.runfiles/_main", "app.runfiles", ""] {
        set_mode(&tree.path(directory), 0o555);
    }
    let started = Started::of(&mut in_image(&tree));
    set_mode(&tree.path(""), 0o755);
    for directory in ["app.runfiles", "app.runfiles/_main", "app.runfiles/_main/app"] {
        set_mode(&tree.path(directory), 0o755);
    }
    started.assert_in("/app.runfiles");
}

/// `/app` in an image that contains `tree` and nothing else.
fn in_image(tree: &Tree) -> Command {
    let root = std::ffi::CString::new(tree.path("").into_os_string().into_encoded_bytes()).unwrap();
    let mut command = Command::new("/app");
    command.env_clear();
    // SAFETY: these calls may be made between fork and exec.
    unsafe {
        command.pre_exec(move || {
            let mut result = 0;
            if libc::geteuid() != 0 {
                result |= libc::unshare(libc::CLONE_NEWUSER);
            }
            result |= libc::chroot(root.as_ptr()) | libc::chdir(c"/".as_ptr());
            if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        })
    };
    command
}

/// Moves the interpreter of `app` to `python/bin/python3.11` in the runfiles, behind two links.
fn link_to_interpreter(tree: &Tree) {
    let python = tree.path("app.runfiles/python/bin");
    fs::create_dir_all(&python).unwrap();
    fs::rename(tree.interpreter(), python.join("python3.11")).unwrap();
    tree.link("app.runfiles/python/bin/python3", "python3.11");
    tree.link(tree.interpreter().into_os_string().into_encoded_bytes(), "../../../../python/bin/python3");
}

#[test]
fn without_proc_the_loader_is_told_where_the_interpreter_is() {
    let tree = Tree::new();
    link_to_interpreter(&tree);
    let directory = b"/app.runfiles/_main/app/_server.venv/bin/../../../../python/bin";
    for inherited in [None, Some("/other/bin")] {
        let started = Started::of(in_image(&tree).envs(inherited.map(|value| ("LD_ORIGIN_PATH", value))));
        assert_eq!(started.variables()[&b"LD_ORIGIN_PATH"[..]], directory);
        assert_eq!(started.environment.len(), 3);
        // With `/proc`, the loader finds it, and another program's directory could only mislead.
        let mut command = tree.command("app");
        let started = Started::of(command.envs(inherited.map(|value| ("LD_ORIGIN_PATH", value))));
        assert_eq!(started.environment.len(), 2);
    }
}

/// As with an interpreter that finds its `libpython` by `$ORIGIN`. It starts itself once more, as
/// `multiprocessing` does.
#[test]
fn without_proc_the_interpreter_finds_its_libraries() {
    let tree = Tree::new();
    link_to_interpreter(&tree);
    let python = tree.path("app.runfiles/python");
    fs::create_dir(python.join("lib")).unwrap();
    tree.write("library.c", "int answer(void) { return 42; }");
    let main = "#include <unistd.h>
        int answer(void);
        int main(int argc, char **argv) {
            if (argc > 1) execv(argv[0], (char *[]){argv[0], 0});
            return answer();
        }";
    tree.write("main.c", main);
    let run = |command: &mut Command| {
        let output = command.current_dir(tree.path("")).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let (library, interpreter) = (python.join("lib/libanswer.so"), python.join("bin/python3.11"));
    fs::remove_file(&interpreter).unwrap();
    run(Command::new("cc").args(["-shared", "library.c", "-Wl,-soname,libanswer.so", "-o"]).arg(&library));
    run(Command::new("cc")
        .args(["main.c", "-Wl,-rpath,$ORIGIN/../lib", "-o"])
        .args([&interpreter, &library].map(|path| path.as_os_str())));
    // The libc, which the image has where the machine has it.
    for path in run(Command::new("ldd").arg(&interpreter)).split_whitespace() {
        if path.starts_with('/') && !Path::new(path).starts_with(tree.path("")) {
            let copy = tree.path(&path[1..]);
            fs::create_dir_all(copy.parent().unwrap()).unwrap();
            run(Command::new("cp").arg(path).arg(copy));
        }
    }
    let output = in_image(&tree).output().unwrap();
    assert_eq!((output.status.code(), &*output.stderr), (Some(42), &b""[..]), "{output:?}");
}
