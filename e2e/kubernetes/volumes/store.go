package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// minimumBytes is the smallest size that mkfs.xfs accepts.
const minimumBytes = 300 << 20

// store is the directory of the volumes' files.
type store struct {
	dir string
}

func (s store) file(volume string) (string, error) {
	if volume == "" || strings.ContainsAny(volume, "/\x00") || volume[0] == '.' {
		return "", fmt.Errorf("%q is no volume's name", volume)
	}
	return filepath.Join(s.dir, volume+".xfs"), nil
}

// create makes a volume of size bytes; one that exists is left as it is. The
// file appears under its name only once its file system is whole.
func (s store) create(ctx context.Context, volume string, size int64) error {
	file, err := s.file(volume)
	if err != nil {
		return err
	}
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	unfinished := file + ".unfinished"
	if err := os.RemoveAll(unfinished); err != nil {
		return err
	}
	if err := os.WriteFile(unfinished, nil, 0o600); err != nil {
		return err
	}
	if err := os.Truncate(unfinished, size); err != nil {
		return err
	}
	if err := run(ctx, "mkfs.xfs", "-q", unfinished); err != nil {
		return err
	}
	return os.Rename(unfinished, file)
}

// remove deletes a volume's file. A volume that a node still mounts is an
// error: its data must not go while a process may write to it.
func (s store) remove(volume string) error {
	file, err := s.file(volume)
	if err != nil {
		return err
	}
	mounts, err := mountsOf(file)
	if err != nil {
		return err
	}
	if len(mounts) > 0 {
		return fmt.Errorf("%s is still mounted at %s", volume, mounts[0])
	}
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// run executes a program and gives its complaint as the error.
func run(ctx context.Context, name string, args ...string) error {
	var output bytes.Buffer
	command := exec.CommandContext(ctx, name, args...)
	command.Stdout, command.Stderr = &output, &output
	if err := command.Run(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(output.String()))
	}
	return nil
}
