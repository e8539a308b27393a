// Command volumes is the CSI driver of the local cluster. A volume is one
// sparse file that holds an XFS file system of exactly the size that was asked
// for, mounted through a loop device: a full volume is a real ENOSPC, an fsync
// reaches the machine's own disk.
//
// It runs once per node beside the kubelet (`volumes node`) and once for the
// whole cluster (`volumes provision`). All of them share one directory of
// files, so a movable volume can follow its pod to any node. It never lets two
// nodes mount one file at the same time: XFS would not survive it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/klog/v2"
)

// driverName is what StorageClass.provisioner and CSIDriver.metadata.name say.
const driverName = "volumes.zkensemble.dev"

func main() {
	if len(os.Args) < 2 {
		fail(fmt.Errorf("the first argument must be node or provision"))
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	ctx = klog.NewContext(ctx, klog.Background())
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	files := flags.String("files", "", "directory of the volumes' files, shared by all nodes")
	var err error
	switch os.Args[1] {
	case "node":
		name := flags.String("name", "", "name of the Kubernetes node")
		kubelet := flags.String("kubelet", "", "root directory of that node's kubelet")
		_ = flags.Parse(os.Args[2:])
		err = serveNode(ctx, *name, *kubelet, store{*files})
	case "provision":
		kubeconfig := flags.String("kubeconfig", "", "how to reach the API server")
		_ = flags.Parse(os.Args[2:])
		err = provision(ctx, *kubeconfig, store{*files})
	default:
		err = fmt.Errorf("unknown mode %q", os.Args[1])
	}
	if err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "volumes:", err)
	os.Exit(1)
}
