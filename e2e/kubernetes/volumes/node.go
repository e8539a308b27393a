package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// node is the CSI node service of one Kubernetes node. A volume is mounted
// once below `base` and bound from there into every pod that uses it.
type node struct {
	csi.UnimplementedIdentityServer
	csi.UnimplementedNodeServer
	registration.UnimplementedRegistrationServer

	name     string
	base     string
	endpoint string
	files    store
	// Serialises publish and unpublish: both look at the mounts, then act.
	mutex sync.Mutex
}

// serveNode serves CSI and the kubelet's plugin registration until ctx ends.
func serveNode(ctx context.Context, name, kubelet string, files store) error {
	n := &node{
		name:     name,
		base:     filepath.Join(kubelet, "plugins", driverName, "volumes"),
		endpoint: filepath.Join(kubelet, "plugins", driverName, "csi.sock"),
		files:    files,
	}
	sockets := []string{n.endpoint, filepath.Join(kubelet, "plugins_registry", driverName+"-reg.sock")}
	server := grpc.NewServer()
	csi.RegisterIdentityServer(server, n)
	csi.RegisterNodeServer(server, n)
	registration.RegisterRegistrationServer(server, n)
	if err := os.MkdirAll(n.base, 0o750); err != nil {
		return err
	}
	failed := make(chan error, len(sockets))
	for _, socket := range sockets {
		if err := os.MkdirAll(filepath.Dir(socket), 0o750); err != nil {
			return err
		}
		if err := os.RemoveAll(socket); err != nil {
			return err
		}
		listener, err := net.Listen("unix", socket)
		if err != nil {
			return err
		}
		go func() { failed <- server.Serve(listener) }()
	}
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		server.Stop()
		return nil
	}
}

func (n *node) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return &registration.PluginInfo{
		Type: registration.CSIPlugin, Name: driverName, Endpoint: n.endpoint, SupportedVersions: []string{"1.0.0"},
	}, nil
}

func (n *node) NotifyRegistrationStatus(_ context.Context, s *registration.RegistrationStatus) (*registration.RegistrationStatusResponse, error) {
	if !s.PluginRegistered {
		fmt.Fprintln(os.Stderr, "volumes: the kubelet refused the driver:", s.Error)
	}
	return &registration.RegistrationStatusResponse{}, nil
}

func (n *node) GetPluginInfo(context.Context, *csi.GetPluginInfoRequest) (*csi.GetPluginInfoResponse, error) {
	return &csi.GetPluginInfoResponse{Name: driverName, VendorVersion: "1"}, nil
}

func (n *node) GetPluginCapabilities(context.Context, *csi.GetPluginCapabilitiesRequest) (*csi.GetPluginCapabilitiesResponse, error) {
	return &csi.GetPluginCapabilitiesResponse{}, nil
}

func (n *node) Probe(context.Context, *csi.ProbeRequest) (*csi.ProbeResponse, error) {
	return &csi.ProbeResponse{}, nil
}

func (n *node) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{NodeId: n.name}, nil
}

func (n *node) NodeGetCapabilities(context.Context, *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	stats := &csi.NodeServiceCapability{Type: &csi.NodeServiceCapability_Rpc{
		Rpc: &csi.NodeServiceCapability_RPC{Type: csi.NodeServiceCapability_RPC_GET_VOLUME_STATS},
	}}
	return &csi.NodeGetCapabilitiesResponse{Capabilities: []*csi.NodeServiceCapability{stats}}, nil
}

func (n *node) NodePublishVolume(ctx context.Context, r *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	if r.GetVolumeCapability().GetMount() == nil {
		return nil, status.Error(codes.InvalidArgument, "only mounted volumes are offered, no block devices")
	}
	mounted, err := n.mount(ctx, r.GetVolumeId())
	if err != nil {
		return nil, err
	}
	target := r.GetTargetPath()
	if done, err := isMounted(target); err != nil || done {
		return &csi.NodePublishVolumeResponse{}, err
	}
	if err := os.MkdirAll(target, 0o750); err != nil {
		return nil, err
	}
	if err := run(ctx, "mount", "--bind", mounted, target); err != nil {
		return nil, err
	}
	if r.GetReadonly() {
		err = run(ctx, "mount", "-o", "remount,bind,ro", target)
	}
	return &csi.NodePublishVolumeResponse{}, err
}

// mount makes the volume's file system visible on this node and gives the
// directory.
func (n *node) mount(ctx context.Context, volume string) (string, error) {
	file, err := n.files.file(volume)
	if err != nil {
		return "", status.Error(codes.InvalidArgument, err.Error())
	}
	if _, err := os.Stat(file); err != nil {
		return "", status.Errorf(codes.NotFound, "volume %s: %v", volume, err)
	}
	directory := filepath.Join(n.base, volume)
	mounts, err := mountsOf(file)
	if err != nil {
		return "", err
	}
	for _, point := range mounts {
		if point == directory {
			return directory, nil
		}
		if !strings.HasPrefix(point, filepath.Dir(n.base)) && filepath.Base(point) == volume {
			return "", status.Errorf(codes.FailedPrecondition, "volume %s is still mounted by another node at %s", volume, point)
		}
	}
	if err := os.MkdirAll(directory, 0o750); err != nil {
		return "", err
	}
	return directory, run(ctx, "mount", "-t", "xfs", "-o", "loop,noatime", file, directory)
}

func (n *node) NodeUnpublishVolume(ctx context.Context, r *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	file, err := n.files.file(r.GetVolumeId())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	if err := unmount(ctx, r.GetTargetPath()); err != nil {
		return nil, err
	}
	directory := filepath.Join(n.base, r.GetVolumeId())
	mounts, err := mountsOf(file)
	if err != nil {
		return nil, err
	}
	// The last pod is gone: what is left is our own mount, and with it goes
	// the loop device.
	if len(mounts) == 1 && mounts[0] == directory {
		err = unmount(ctx, directory)
	}
	return &csi.NodeUnpublishVolumeResponse{}, err
}

func unmount(ctx context.Context, path string) error {
	if mounted, err := isMounted(path); err != nil {
		return err
	} else if mounted {
		if err := run(ctx, "umount", path); err != nil {
			return err
		}
	}
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}

func (n *node) NodeGetVolumeStats(_ context.Context, r *csi.NodeGetVolumeStatsRequest) (*csi.NodeGetVolumeStatsResponse, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(r.GetVolumePath(), &s); err != nil {
		return nil, status.Errorf(codes.NotFound, "volume %s at %s: %v", r.GetVolumeId(), r.GetVolumePath(), err)
	}
	size := s.Bsize
	return &csi.NodeGetVolumeStatsResponse{Usage: []*csi.VolumeUsage{
		{
			Unit: csi.VolumeUsage_BYTES, Total: int64(s.Blocks) * size,
			Available: int64(s.Bavail) * size, Used: int64(s.Blocks-s.Bfree) * size,
		},
		{
			Unit: csi.VolumeUsage_INODES, Total: int64(s.Files),
			Available: int64(s.Ffree), Used: int64(s.Files - s.Ffree),
		},
	}}, nil
}
