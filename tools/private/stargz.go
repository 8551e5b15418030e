// Mounts the layers of an image in a registry, without pulling them, by the file system of stargz-snapshotter.
//
//	stargz REGISTRY/NAME:latest FOLDER
//
// FOLDER/0 is the first layer, and so on. Prints a line when all are mounted and what is to be read ahead has been
// read, and unmounts them at the end of stdin. Nothing is fetched in the background.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/containerd/containerd/reference"
	"github.com/containerd/containerd/remotes/docker"
	"github.com/containerd/stargz-snapshotter/fs"
	"github.com/containerd/stargz-snapshotter/fs/config"
	"github.com/containerd/stargz-snapshotter/fs/source"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func main() {
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(image, folder string) (err error) {
	manifest, err := manifestOf(image)
	if err != nil {
		return err
	}
	// Files are fetched in pieces as small as they are read.
	filesystem, err := fs.NewFilesystem(filepath.Join(folder, "state"), config.Config{
		NoBackgroundFetch: true,
		NoPrometheus:      true,
		BlobConfig:        config.BlobConfig{ChunkSize: 50000},
	}, fs.WithGetSources(source.FromDefaultLabels(hosts)))
	if err != nil {
		return err
	}
	var mounted []string
	defer func() {
		for _, path := range mounted {
			if problem := syscall.Unmount(path, syscall.MNT_DETACH); problem != nil && err == nil {
				err = problem
			}
		}
	}()
	for number, layer := range manifest.Layers {
		path := filepath.Join(folder, strconv.Itoa(number))
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
		labels := map[string]string{
			"containerd.io/snapshot/remote/stargz.reference": image,
			"containerd.io/snapshot/remote/stargz.digest":    layer.Digest.String(),
		}
		for name, value := range layer.Annotations {
			labels[name] = value
		}
		if err := filesystem.Mount(context.Background(), path, labels); err != nil {
			return fmt.Errorf("layer %d: %w", number, err)
		}
		mounted = append(mounted, path)
		// Waits until what is to be read ahead has been read.
		if err := filesystem.Check(context.Background(), path, labels); err != nil {
			return fmt.Errorf("layer %d: %w", number, err)
		}
	}
	fmt.Println(len(mounted))
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func hosts(image reference.Spec) ([]docker.RegistryHost, error) {
	client := &http.Client{Transport: http.DefaultTransport}
	return docker.ConfigureDefaultRegistries(docker.WithClient(client), docker.WithPlainHTTP(docker.MatchLocalhost))(image.Hostname())
}

func manifestOf(image string) (manifest ocispec.Manifest, err error) {
	host, name, _ := strings.Cut(image, "/")
	name, tag, _ := strings.Cut(name, ":")
	request, err := http.NewRequest("GET", fmt.Sprintf("http://%s/v2/%s/manifests/%s", host, name, tag), nil)
	if err != nil {
		return manifest, err
	}
	request.Header.Set("Accept", ocispec.MediaTypeImageManifest)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return manifest, err
	}
	defer response.Body.Close()
	return manifest, json.NewDecoder(response.Body).Decode(&manifest)
}
