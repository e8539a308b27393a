package main

import (
	"context"
	"os"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

// provision makes and deletes volumes for claims until ctx ends.
func provision(ctx context.Context, kubeconfig string, files store) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(files.dir, 0o700); err != nil {
		return err
	}
	controller.NewProvisionController(ctx, client, driverName, &provisioner{files},
		controller.LeaderElection(false),
	).Run(ctx)
	return nil
}

type provisioner struct {
	files store
}

func (p *provisioner) Provision(ctx context.Context, o controller.ProvisionOptions) (*core.PersistentVolume, controller.ProvisioningState, error) {
	asked := o.PVC.Spec.Resources.Requests[core.ResourceStorage]
	size := max(asked.Value(), minimumBytes)
	if err := p.files.create(ctx, o.PVName, size); err != nil {
		return nil, controller.ProvisioningFinished, err
	}
	return &core.PersistentVolume{
		ObjectMeta: meta.ObjectMeta{Name: o.PVName},
		Spec: core.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: *o.StorageClass.ReclaimPolicy,
			AccessModes:                   o.PVC.Spec.AccessModes,
			Capacity:                      core.ResourceList{core.ResourceStorage: *resource.NewQuantity(size, resource.BinarySI)},
			PersistentVolumeSource: core.PersistentVolumeSource{
				CSI: &core.CSIPersistentVolumeSource{Driver: driverName, VolumeHandle: o.PVName, FSType: "xfs"},
			},
			NodeAffinity: affinity(o),
		},
	}, controller.ProvisioningFinished, nil
}

// affinity ties a volume to the node that its first pod was scheduled to, if
// its class says so.
func affinity(o controller.ProvisionOptions) *core.VolumeNodeAffinity {
	if o.StorageClass.Parameters["reach"] != "node" {
		return nil
	}
	return &core.VolumeNodeAffinity{Required: &core.NodeSelector{NodeSelectorTerms: []core.NodeSelectorTerm{{
		MatchExpressions: []core.NodeSelectorRequirement{{
			Key: core.LabelHostname, Operator: core.NodeSelectorOpIn, Values: []string{o.SelectedNodeName},
		}},
	}}}}
}

func (p *provisioner) Delete(_ context.Context, volume *core.PersistentVolume) error {
	return p.files.remove(volume.Spec.CSI.VolumeHandle)
}
