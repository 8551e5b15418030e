//! Arguments of actions, as lines of a flagfile: a parsed request, written as arguments again, parses to the
//! same request.

#![no_main]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use pylayer::request::{
    ActionRequest, LauncherRequest, LayerRequest, MetadataRequest, PackageCollisionsRequest,
    RepoMappingRequest, ReportRequest, UnusedGroupsRequest, ValidationRequest, flagfile, flagfile_arguments,
};

fuzz_target!(|content: &[u8]| {
    let arguments: Vec<Bytes> = flagfile_arguments(&Bytes::copy_from_slice(content)).collect();
    for argument in &arguments {
        assert!(!argument.is_empty() && !argument.contains(&b'\n'));
        if let Ok(Some(path)) = flagfile(argument) {
            assert!(stays(&path));
            let written = argument.strip_prefix(b"--flagfile=").or(argument.strip_prefix(b"@")).unwrap();
            let written = Path::new(OsStr::from_bytes(written)).components();
            assert!(written.filter(is_name).eq(path.components().filter(is_name)));
        }
    }
    let Ok(request) = ActionRequest::parse(arguments.iter().map(Bytes::as_ref)) else { return };
    let mut written = Written::default();
    match &request {
        ActionRequest::Layer(request) => written.layer(request),
        ActionRequest::Validation(request) => written.validation(request),
        ActionRequest::UnusedGroups(request) => written.unused_groups(request),
        ActionRequest::RepoMapping(request) => written.repo_mapping(request),
        ActionRequest::Launcher(request) => written.launcher(request),
        ActionRequest::Report(request) => written.report(request),
        ActionRequest::PackageCollisions(request) => written.package_collisions(request),
    }
    let written: Vec<Bytes> = flagfile_arguments(&written.0.into()).collect();
    assert_eq!(ActionRequest::parse(written.iter().map(Bytes::as_ref)).unwrap(), request);
});

fn is_name(component: &Component) -> bool {
    *component != Component::CurDir
}

/// Whether a path relative to a directory `d/e` stays below `d`.
fn stays(path: &Path) -> bool {
    let mut depth = 1;
    path.components().all(|component| {
        match component {
            Component::Normal(_) => depth += 1,
            Component::ParentDir => depth -= 1,
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return false,
        }
        depth >= 0
    }) && depth > 0
}

/// A flagfile.
#[derive(Default)]
struct Written(Vec<u8>);

impl Written {
    fn argument(&mut self, name: &str, value: impl AsRef<[u8]>) {
        self.0.extend([b"--", name.as_bytes(), b"=", value.as_ref(), b"\n"].concat());
    }

    fn path(&mut self, name: &str, path: &Path) {
        assert!(stays(path));
        self.argument(name, path.as_os_str().as_bytes());
    }

    fn layer(&mut self, request: &LayerRequest) {
        let LayerRequest { layer, settings, groups, manifest, wheels, prefetch, output, descriptor, listing, metadata } =
            request;
        self.argument("layer", layer);
        self.path("settings", settings);
        if let Some(groups) = groups {
            self.path("groups", groups);
        }
        self.path("manifest", manifest);
        for wheel in wheels {
            self.path("wheel", wheel);
        }
        if let Some(prefetch) = prefetch {
            self.path("prefetch", prefetch);
        }
        self.path("output", output);
        if let Some(descriptor) = descriptor {
            self.path("descriptor", descriptor);
        }
        if let Some(listing) = listing {
            self.path("listing", listing);
        }
        if let Some(MetadataRequest { path, created_by }) = metadata {
            self.path("layer_metadata", path);
            self.argument("created_by", created_by);
        }
    }

    fn repo_mapping(&mut self, request: &RepoMappingRequest) {
        let RepoMappingRequest { output, mappings } = request;
        self.path("merged_repo_mapping", output);
        for mapping in mappings {
            self.path("repo_mapping", mapping);
        }
    }

    fn launcher(&mut self, request: &LauncherRequest) {
        let LauncherRequest { launcher, settings, patchlevel, output } = request;
        self.path("launcher", launcher);
        self.path("settings", settings);
        if let Some(patchlevel) = patchlevel {
            self.path("patchlevel", patchlevel);
        }
        self.path("output", output);
    }

    fn unused_groups(&mut self, request: &UnusedGroupsRequest) {
        let UnusedGroupsRequest { report, settings } = request;
        self.path("unused_groups", report);
        self.path("settings", settings);
    }

    fn package_collisions(&mut self, request: &PackageCollisionsRequest) {
        let PackageCollisionsRequest { report, settings } = request;
        self.path("package_collisions", report);
        self.path("settings", settings);
    }

    fn report(&mut self, request: &ReportRequest) {
        let ReportRequest { page, contents, settings, groups, report_settings, layers, listings, manifests } = request;
        self.path("report", page);
        self.path("contents", contents);
        self.path("settings", settings);
        self.path("groups", groups);
        self.path("report_settings", report_settings);
        for manifest in manifests {
            self.path("manifest", manifest);
        }
        for (name, paths) in [("layer_file", layers), ("layer_listing", listings)] {
            self.paths(name, paths);
        }
    }

    /// Paths with the names of layers.
    fn paths(&mut self, name: &str, paths: &[(String, PathBuf)]) {
        for (layer, path) in paths {
            assert!(stays(path));
            self.argument(name, [layer.as_bytes(), b"=", path.as_os_str().as_bytes()].concat());
        }
    }

    fn validation(&mut self, request: &ValidationRequest) {
        let ValidationRequest { report, settings, groups, validation_settings, manifests, listings, prefetch } =
            request;
        self.path("validation", report);
        self.path("settings", settings);
        self.path("groups", groups);
        self.path("validation_settings", validation_settings);
        for manifest in manifests {
            self.path("manifest", manifest);
        }
        self.paths("layer_listing", listings);
        if let Some(prefetch) = prefetch {
            self.path("prefetch", prefetch);
        }
    }
}
