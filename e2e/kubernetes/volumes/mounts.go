package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// mountsOf lists where a volume's file is mounted, by any node.
func mountsOf(file string) ([]string, error) {
	device, err := loopDeviceOf(file)
	if device == "" || err != nil {
		return nil, err
	}
	return mountPoints(func(source, _ string) bool { return source == device })
}

// isMounted says whether something is mounted exactly at path.
func isMounted(path string) (bool, error) {
	points, err := mountPoints(func(_, point string) bool { return point == path })
	return len(points) > 0, err
}

// loopDeviceOf gives the loop device that a file is attached to, or "".
func loopDeviceOf(file string) (string, error) {
	backing, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return "", err
	}
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	} else if err != nil {
		return "", err
	}
	for _, path := range backing {
		name, err := os.ReadFile(path)
		if err != nil {
			continue // detached since the directory was read
		}
		// The kernel names the file as the mount namespace that attached it
		// sees it, so the last element decides, and then the inode.
		named := strings.TrimSpace(string(name))
		if filepath.Base(named) != filepath.Base(file) {
			continue
		}
		other, err := os.Stat(filepath.Join(filepath.Dir(file), filepath.Base(named)))
		if err == nil && os.SameFile(info, other) {
			return "/dev/" + strings.Split(path, "/")[3], nil
		}
	}
	return "", nil
}

// mountPoints gives the mount points of this mount namespace that match.
func mountPoints(match func(source, point string) bool) ([]string, error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var points []string
	for line := range strings.Lines(string(table)) {
		// proc_pid_mountinfo(5): the mount point is field 5; after a lone dash
		// come the type and the source.
		before, after, found := strings.Cut(line, " - ")
		fields, rest := strings.Fields(before), strings.Fields(after)
		if !found || len(fields) < 5 || len(rest) < 2 {
			continue
		}
		if match(rest[1], fields[4]) {
			points = append(points, fields[4])
		}
	}
	return points, nil
}
