//! Rules of built-in kinds, a row each: what is put where into a good object, and what is said about
//! it then. Rows marked with `~` change a stored object, those with `status` its status.

use isopod_api::codec::conform;
use isopod_api::{Object, Value, default, kinds, strategy, validate};

/// Group, version, plural, and a good object of each kind.
#[rustfmt::skip]
const GOOD: &[(&str, &str, &str, &str)] = &[
    ("", "v1", "pods", r#"{"spec":{"containers":[{"name":"c","image":"i"}]}}"#),
    ("", "v1", "nodes", r#"{"spec":{"podCIDRs":["10.0.0.0/24"]}}"#),
    ("", "v1", "limitranges", r#"{"spec":{"limits":[{"type":"Container","max":{"hugepages-2Mi":"4Mi"}}]}}"#),
    (
        "",
        "v1",
        "persistentvolumeclaims",
        r#"{"spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}}}}"#,
    ),
    (
        "",
        "v1",
        "persistentvolumes",
        r#"{"spec":{"capacity":{"storage":"1Gi"},"accessModes":["ReadWriteOnce"],"csi":{"driver":"d","volumeHandle":"h"},
            "volumeAttributesClassName":"c","nodeAffinity":{"required":{"nodeSelectorTerms":[{"matchExpressions":[
            {"key":"beta.kubernetes.io/os","operator":"In","values":["linux"]}]}]}}}}"#,
    ),
    (
        "apps",
        "v1",
        "deployments",
        r#"{"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},
            "spec":{"containers":[{"name":"c","image":"i","ports":[{"containerPort":80}]}],"hostNetwork":true}}}}"#,
    ),
    (
        "storage.k8s.io",
        "v1",
        "storageclasses",
        r#"{"provisioner":"Example.com/P","allowedTopologies":[{"matchLabelExpressions":[{"key":"a","values":["x"]}]}]}"#,
    ),
    ("storage.k8s.io", "v1", "csidrivers", r#"{"spec":{"tokenRequests":[{"audience":"a"}]}}"#),
    ("storage.k8s.io", "v1", "csinodes", r#"{"spec":{"drivers":[{"name":"d","nodeID":"n"}]}}"#),
    (
        "storage.k8s.io",
        "v1",
        "volumeattachments",
        r#"{"spec":{"attacher":"a","nodeName":"n","source":{"persistentVolumeName":"p"}}}"#,
    ),
    ("storage.k8s.io", "v1", "volumeattributesclasses", r#"{"driverName":"D","parameters":{"a":"b"}}"#),
    (
        "autoscaling",
        "v2",
        "horizontalpodautoscalers",
        r#"{"spec":{"scaleTargetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"d"},"maxReplicas":3}}"#,
    ),
    (
        "batch",
        "v1",
        "jobs",
        r#"{"spec":{"manualSelector":true,"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},
            "spec":{"restartPolicy":"Never","containers":[{"name":"c","image":"i"}]}}}}"#,
    ),
    ("node.k8s.io", "v1", "runtimeclasses", r#"{"handler":"h","scheduling":{"tolerations":[]}}"#),
    ("coordination.k8s.io", "v1", "leases", r#"{"spec":{"holderIdentity":"h"}}"#),
    (
        "admissionregistration.k8s.io",
        "v1",
        "mutatingadmissionpolicies",
        r#"{"spec":{"failurePolicy":"Fail","reinvocationPolicy":"Never","matchConstraints":{"resourceRules":[
            {"apiGroups":[""],"apiVersions":["v1"],"operations":["CREATE"],"resources":["pods"]}]},
            "mutations":[{"patchType":"JSONPatch","jsonPatch":{"expression":"[]"}}],"matchConditions":[]}}"#,
    ),
    (
        "admissionregistration.k8s.io",
        "v1",
        "validatingwebhookconfigurations",
        r#"{"webhooks":[{"name":"a.b.c","sideEffects":"None","admissionReviewVersions":["v1"],"clientConfig":{"url":"https://h/"}}]}"#,
    ),
    (
        "apps",
        "v1",
        "statefulsets",
        r#"{"spec":{"selector":{"matchLabels":{"a":"b"}},"serviceName":"s","updateStrategy":{"type":"RollingUpdate","rollingUpdate":{"partition":1}},
            "template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}"#,
    ),
    (
        "certificates.k8s.io",
        "v1",
        "certificatesigningrequests",
        r#"{"spec":{"signerName":"e.com/s","usages":["client auth"],"request":"LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUFBPQotLS0tLUVORCBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0K"}}"#,
    ),
    (
        "flowcontrol.apiserver.k8s.io",
        "v1",
        "flowschemas",
        r#"{"spec":{"matchingPrecedence":5,"priorityLevelConfiguration":{"name":"l"}}}"#,
    ),
    (
        "discovery.k8s.io",
        "v1",
        "endpointslices",
        r#"{"addressType":"IPv6","endpoints":[{"addresses":["fd00::1"],"hints":{}}],"ports":[{"port":80}]}"#,
    ),
    (
        "resource.k8s.io",
        "v1",
        "resourceslices",
        r#"{"spec":{"driver":"d.example.com","nodeName":"n","pool":{"name":"p","generation":1,"resourceSliceCount":1},
            "devices":[{"name":"a","allowMultipleAllocations":true,"attributes":{"x":{"int":1}},
            "capacity":{"memory":{"value":"8Gi"}}}]}}"#,
    ),
];

/// Kind, path, value, and the faults as `field: message`.
#[rustfmt::skip]
const ROWS: &[(&str, &str, &str, &[&str])] = &[
    // Volumes.
    ("pods", "spec.volumes", r#"[{"name":"v","gcePersistentDisk":{"pdName":"","partition":300}}]"#, &[
        "spec.volumes[0].persistentDisk.pdName: Required value",
        "spec.volumes[0].persistentDisk.partition: Invalid value: 300: must be between 1 and 255, inclusive",
    ]),
    ("pods", "spec.volumes", r#"[{"name":"v","flexVolume":{"driver":"a/b","options":{"x.k8s.io/a":"b","k8s.iox":"y"}}}]"#, &[
        "spec.volumes[0].flexVolume.options[x.k8s.io/a]: Invalid value: \"x.k8s.io/a\": kubernetes.io and k8s.io namespaces are reserved",
    ]),
    ("pods", "spec.volumes", r#"[{"name":"v","quobyte":{"registry":"a:1,b","volume":"x"}}]"#, &[
        "spec.volumes[0].quobyte.registry: Invalid value: \"a:1,b\": must be a host:port pair or multiple pairs separated by commas",
    ]),
    ("pods", "spec.volumes", r#"[{"name":"v","storageos":{"volumeName":"A","secretRef":{}}}]"#, &[
        "spec.volumes[0].storageos.volumeName: Invalid value: \"A\": *",
        "spec.volumes[0].storageos.secretRef.name: Required value",
    ]),
    ("pods", "spec.volumes", r#"[{"name":"v","csi":{"driver":"d","nodePublishSecretRef":{"name":"A"}}}]"#, &[
        "spec.volumes[0].csi.name: Invalid value: \"A\": *",
    ]),
    ("pods", "spec.volumes", r#"[{"name":"v","ephemeral":{"volumeClaimTemplate":{"metadata":{"name":"x","uid":"u"},
        "spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1"}}}}}}]"#, &[
        "spec.volumes[0].ephemeral.volumeClaimTemplate.metadata.name: Forbidden: cannot be set",
        "spec.volumes[0].ephemeral.volumeClaimTemplate.metadata.uID: Forbidden: cannot be set",
    ]),
    // Containers.
    ("pods", "spec.initContainers", r#"[{"name":"a","image":"i"},{"name":"b","image":"i",
        "ports":[{"containerPort":1,"hostPort":5},{"containerPort":2,"hostPort":5}]}]"#, &[
        "spec.initContainers[0].ports[1].hostPort: Duplicate value: \"TCP//5\"",
    ]),
    ("pods", "spec.containers.0.resources", r#"{"limits":{"cpu":"1","hugepages-2Mi":"3Mi"}}"#, &[
        "spec.containers[0].resources.limits[hugepages-2Mi]: Invalid value: \"3Mi\": 3Mi is not positive integer multiple of hugepages-2Mi",
        "spec.containers[0].resources.requests[hugepages-2Mi]: Invalid value: \"3Mi\": 3Mi is not positive integer multiple of hugepages-2Mi",
    ]),
    ("pods", "spec.containers.0.env", r#"[{"name":"A","valueFrom":{"resourceFieldRef":{"resource":"limits.hugepages-2Mi","divisor":"3"}}}]"#, &[
        "spec.containers[0].env[0].valueFrom.resourceFieldRef.divisor: Invalid value: \"limits.hugepages-2Mi\": only divisor's values *",
    ]),
    ("pods", "spec.containers.0.env", r#"[{"name":"A","valueFrom":{"fileKeyRef":{"volumeName":"v","path":"/a","key":"k"}}}]"#, &[
        "spec.containers[0].env[0].valueFrom.fileKeyRef.volumeName: Not found: \"v\"",
    ]),
    ("pods", "spec.containers.0.envFrom", r#"[{"configMapRef":{"name":"a-"}}]"#, &[]),
    ("pods", "spec.containers.0.securityContext.windowsOptions", r#"{"runAsUserName":"a\\b\\c"}"#, &[
        "spec.containers[0].securityContext.windowsOptions.runAsUserName: Invalid value: \"a\\\\b\\\\c\": runAsUserName cannot contain more than one backslash",
    ]),
    ("pods", "spec.securityContext.windowsOptions", r#"{"hostProcess":true,"runAsUserName":"D?\\..","gmsaCredentialSpec":""}"#, &[
        "spec.securityContext.windowsOptions.gmsaCredentialSpec: Invalid value: \"\": gmsaCredentialSpec cannot be an empty string",
        "spec.securityContext.windowsOptions.runAsUserName: Invalid value: \"D?\\\\..\": runAsUserName's Domain doesn't match the NetBios nor the DNS format",
        "spec.securityContext.windowsOptions.runAsUserName: Invalid value: \"D?\\\\..\": runAsUserName's User cannot contain only periods or spaces",
        "spec.hostNetwork: Invalid value: false: hostNetwork must be true if pod contains any hostProcess containers",
    ]),
    ("pods", "spec", r#"{"os":{"name":"linux"},"containers":[{"name":"c","image":"i","securityContext":{"windowsOptions":{}}}]}"#, &[
        "spec.containers[0].securityContext.windowsOptions: Forbidden: windows options cannot be set for a linux pod",
    ]),
    ("pods", "spec", r#"{"resources":{"requests":{"cpu":"1"},"limits":{"cpu":"2"}},"containers":[{"name":"c","image":"i"}],
        "initContainers":[{"name":"s","image":"i","restartPolicy":"Always","resources":{"requests":{"cpu":"1"}}},
        {"name":"i","image":"i","resources":{"requests":{"cpu":"1"}}}]}"#, &[
        "spec.resources.requests[cpu]: Invalid value: \"1\": must be greater than or equal to aggregate container requests of 2",
    ]),
    // Profiles in annotations.
    ("pods", "metadata.annotations", r#"{"seccomp.security.alpha.kubernetes.io/pod":"x"}"#, &[
        "metadata.annotations.seccomp.security.alpha.kubernetes.io/pod: Invalid value: \"x\": must be a valid seccomp profile",
    ]),
    ("pods", "", r#"{"metadata":{"annotations":{"container.apparmor.security.beta.kubernetes.io/c":"unconfined"}},
        "spec":{"containers":[{"name":"c","image":"i","securityContext":{"appArmorProfile":{"type":"RuntimeDefault"}}}]}}"#, &[
        "spec.containers[0].securityContext.appArmorProfile.type: Forbidden: apparmor type in annotation and field must match",
    ]),
    ("~pods", "metadata.annotations", r#"{"container.apparmor.security.beta.kubernetes.io/c":"unconfined"}"#, &[
        "metadata.annotations[container.apparmor.security.beta.kubernetes.io/c]: Forbidden: may not add AppArmor annotations",
    ]),
    // Fields of features that are off go.
    ("pods", "spec.volumes", r#"[{"name":"v","projected":{"sources":[{"podCertificate":{"keyType":"x"}}]}}]"#, &[]),
    ("pods", "spec.schedulingGroup", r#"{"podGroupName":"A"}"#, &[]),
    // Status of pods.
    ("status pods", "status.podIPs", r#"[{"ip":"10.0.0.1"},{"ip":"10.0.0.2"}]"#, &[
        "status.podIPs: Invalid value: [{\"IP\":\"10.0.0.1\"},{\"IP\":\"10.0.0.2\"}]: may specify no more than one IP for each IP family",
    ]),
    ("status pods", "status.hostIPs", r#"[{"ip":"10.0.0.1"}]"#, &[
        "status.hostIPs[0].ip: Invalid value: \"10.0.0.1\": must be equal to `hostIP`",
    ]),
    ("status pods", "status.resourceClaimStatuses", r#"[{"name":"a"}]"#, &[
        "status.resourceClaimStatuses[0].name: Invalid value: \"a\": must match the name of an entry in `spec.resourceClaims`",
    ]),
    ("status pods", "status.containerStatuses", r#"[{"name":"c","allocatedResourcesStatus":[{"name":"x","resources":[
        {"resourceID":"1","health":"Bad"},{"resourceID":"1","health":"Healthy"}]}]}]"#, &[
        "status.containerStatuses[0].allocatedResourcesStatus[0].name: Invalid value: \"x\": must match one of the container's resource requests",
        "status.containerStatuses[0].allocatedResourcesStatus[0].resources[0].health: Unsupported value: \"Bad\": supported values: \"Healthy\", \"Unhealthy\", \"Unknown\"",
        "status.containerStatuses[0].allocatedResourcesStatus[0].resources[1].resourceID: Duplicate value: \"1\"",
    ]),
    ("status pods", "status.ephemeralContainerStatuses", r#"[{"name":"e","allocatedResourcesStatus":[{"name":"x"}]}]"#, &[
        "status.ephemeralContainerStatuses[0].allocatedResourcesStatus: Forbidden: must not be specified in container status",
    ]),
    // Templates leave the ports of the host open.
    ("deployments", "spec.template.spec.containers.0.ports", r#"[{"containerPort":80},{"containerPort":81,"hostPort":5}]"#, &[
        "spec.template.spec.containers[0].ports[1].hostPort: Invalid value: 5: must match `containerPort` when `hostNetwork` is true",
    ]),
    ("deployments", "spec.strategy.rollingUpdate", r#"{"maxUnavailable":"abc","maxSurge":0}"#, &[
        "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"abc\": *",
        "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"abc\": may not be 0 when `maxSurge` is 0",
    ]),
    // Nodes.
    ("nodes", "status.declaredFeatures", r#"["B","A","x"]"#, &[
        "status.declaredFeatures[1]: Invalid value: \"A\": list must be sorted alphabetically",
        "status.declaredFeatures[2]: Invalid value: \"x\": invalid feature name \"x\": must start with *",
    ]),
    ("status nodes", "status.addresses", r#"[{"type":"InternalIP","address":"1"},{"type":"InternalIP","address":"1"}]"#, &[
        "status.addresses[1]: Duplicate value: {\"Type\":\"InternalIP\",\"Address\":\"1\"}",
    ]),
    // Dropped before it is looked at.
    ("~nodes", "spec.configSource", r#"{"configMap":{"uid":"u"}}"#, &[]),
    ("~nodes", "spec.taints", r#"[{"key":"a","effect":"X"}]"#, &[
        "metadata.taints[0].effect: Unsupported value: \"X\": supported values: *",
    ]),
    ("~nodes", "metadata.generateName", r#""a/b""#, &[
        "metadata.generateName: Invalid value: \"a/b\": may not contain '/'",
        "metadata.generateName: Invalid value: \"a/b\": a lowercase RFC 1123 subdomain must consist of *",
    ]),
    ("deployments", "spec.selector", r#"{"matchLabels":{"a":"b"},"matchExpressions":[{"key":"a","operator":"In"}]}"#, &[
        "spec.selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
        "spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"b\"},\"matchExpressions\":[{\"key\":\"a\",\"operator\":\"In\"}]}: invalid label selector",
    ]),
    ("pods", "spec.preemptionPolicy", r#""X""#, &[
        "spec.preemptionPolicy: Unsupported value: \"X\": supported values: \"PreemptLowerPriority\", \"Never\"",
    ]),
    ("pods", "spec.containers.0.resources", r#"{"claims":[{"name":""}]}"#, &[
        "spec.containers[0].resources.claims[0]: Required value",
    ]),
    ("pods", "spec.securityContext", r#"{"seccompProfile":{"type":"Unconfined","localhostProfile":"p"}}"#, &[
        "spec.securityContext.seccompProfile.localhostProfile: Invalid value: {\"Type\":\"Unconfined\",\"LocalhostProfile\":\"p\"}: can only be set when seccomp type is Localhost",
    ]),
    ("limitranges", "spec.limits.0", r#"{"type":"Container","default":{"hugepages-2Mi":"4Mi"},"defaultRequest":{"hugepages-2Mi":"2Mi"}}"#, &[
        "spec.limits[0].defaultRequest[hugepages-2Mi]: Invalid value: \"2Mi\": default value 4Mi must equal to defaultRequest value 2Mi in hugepages-2Mi",
    ]),
    // Claims and volumes.
    ("deployments", "spec.template.spec.volumes",
        r#"[{"name":"v","iscsi":{"targetPortal":"a","iqn":"iqn.200é-4.com.example:x","lun":0}}]"#,
        &["spec.template.spec.volumes[0].iscsi.iqn: *"]),
    ("~persistentvolumeclaims", "metadata.annotations", r#"{"volume.beta.kubernetes.io/storage-class":"x"}"#, &[
        "metadata.annotations.volume.beta.kubernetes.io/storage-class: Invalid value: \"x\": field is immutable",
    ]),
    ("status persistentvolumeclaims", "status.allocatedResourceStatuses", r#"{"cpu":"X"}"#, &[
        "status.allocatedResourceStatuses: Unsupported value: \"cpu\": supported values: \"storage\"",
        "status.allocatedResourceStatuses: Unsupported value: \"cpu\": supported values: *",
    ]),
    ("persistentvolumeclaims", "spec.dataSourceRef", r#"{"kind":"X","apiGroup":"a","name":"n","namespace":"other"}"#, &[]),
    ("persistentvolumes", "spec.csi.controllerExpandSecretRef", r#"{"name":"A","namespace":"n"}"#, &[
        "spec.csi.controllerExpandSecretRef.name: Invalid value: \"A\": *",
    ]),
    ("~persistentvolumes", "spec.csi.controllerExpandSecretRef", r#"{"name":"a","namespace":"n"}"#, &[]),
    ("~persistentvolumes", "spec.volumeAttributesClassName", "null", &[
        "spec.volumeAttributesClassName: Forbidden: update from non-nil value to nil is forbidden",
    ]),
    ("~persistentvolumes", "spec.nodeAffinity.required.nodeSelectorTerms.0.matchExpressions.0.key", r#""kubernetes.io/os""#, &[]),
    ("~persistentvolumes", "spec.nodeAffinity.required.nodeSelectorTerms.0.matchExpressions.0.values", r#"["x"]"#, &[
        "nodeAffinity: Invalid value: {\"Required\":{\"NodeSelectorTerms\":[*",
    ]),
    // Classes and drivers.
    ("storageclasses", "provisioner", r#""A b""#, &["provisioner: Invalid value: \"a b\": *"]),
    ("storageclasses", "allowedTopologies", r#"[{"matchLabelExpressions":[{"key":"a","values":["x","y"]}]},
        {"matchLabelExpressions":[{"key":"a","values":["y","x"]}]}]"#, &[
        "allowedTopologies[1].matchLabelExpressions: Duplicate value: \"\"",
    ]),
    ("~storageclasses", "provisioner", r#""other""#, &["provisioner: Invalid value: \"other\": field is immutable"]),
    ("csidrivers", "spec", r#"{"serviceAccountTokenInSecrets":true}"#, &[
        "spec.serviceAccountTokenInSecrets: Invalid value: true: serviceAccountTokenInSecrets is set but no tokenRequests are specified",
    ]),
    ("~csinodes", "spec.drivers.0.nodeID", r#""other""#, &[
        "spec.drivers: Invalid value: {\"Name\":\"d\",\"NodeID\":\"other\",\"TopologyKeys\":null,\"Allocatable\":null}: field is immutable",
    ]),
    ("csinodes", "spec.drivers.0.topologyKeys", r#"["a","a"]"#, &["spec.drivers[0]: Duplicate value: \"a\""]),
    ("volumeattachments", "spec.source.persistentVolumeName", r#""A""#, &[
        "spec.source.persistentVolumeName: Invalid value: \"A\": *",
    ]),
    ("volumeattributesclasses", "driverName", r#""a b""#, &["driverName: Invalid value: \"a b\": *"]),
    // Who else is counted: scaling, jobs, slices.
    ("horizontalpodautoscalers", "spec.scaleTargetRef.apiVersion", r#""v1""#, &[
        "spec.scaleTargetRef.apiVersion: Invalid value: \"v1\": apiVersion must specify API group",
    ]),
    ("~horizontalpodautoscalers", "spec.minReplicas", "0", &[
        "spec.minReplicas: Invalid value: 0: must be greater than or equal to 1",
        "spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero replicas",
    ]),
    ("horizontalpodautoscalers", "spec.metrics", r#"[{"type":"ContainerResource","containerResource":{"name":"x y","container":"c",
        "target":{"type":"Utilization","averageUtilization":5}}}]"#, &[
        "spec.metrics[0].containerResource.name: Invalid value: \"x y\": name part must consist*",
        "spec.metrics[0].containerResource.name: Invalid value: \"x y\": must be a standard resource for containers",
    ]),
    ("~jobs", "spec.template.spec.nodeSelector", r#"{"a":"b"}"#, &["spec.template: Invalid value:*"]),
    ("runtimeclasses", "scheduling.tolerations", r#"[{"operator":"Exists","value":"v"}]"#, &[
        "scheduling.tolerations[0].operator: Invalid value: \"v\": value must be empty when `operator` is 'Exists'",
    ]),
    ("leases", "spec.holderIdentity", r#""""#, &[]),
    ("leases", "spec.strategy", r#""no/such""#, &[]),
    ("endpointslices", "endpoints.0.addresses", r#"["FD00::1"]"#, &[
        "endpoints[0].addresses[0]: Invalid value: \"FD00::1\": must be in canonical form (\"fd00::1\")",
    ]),
    ("endpointslices", "endpoints.0.addresses", r#"["10.0.0.1"]"#, &[
        "endpoints[0].addresses: Invalid value: \"10.0.0.1\": must be an IPv6 address",
    ]),
    ("endpointslices", "endpoints.0.hints", r#"{"forNodes":[{"name":"A b"},{"name":"n"}]}"#, &[
        "endpoints[0].hints.forNodes[0].name: Invalid value: \"A b\": a lowercase RFC 1123 subdomain*",
    ]),
    ("endpointslices", "ports", r#"[{"port":80,"protocol":""}]"#, &[
        "ports[0].protocol: Unsupported value: \"\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
    ]),
    ("validatingwebhookconfigurations", "webhooks.0.clientConfig", r#"{"service":{"name":"s","namespace":"n","path":"x"}}"#, &[
        "webhooks[0].clientConfig.service.path: Invalid value: \"x\": must start with a '/'",
        "webhooks[0].clientConfig.service.path: Invalid value: \"x\": segment[0] may not be empty",
    ]),
    ("~endpointslices", "addressType", r#""IPv4""#, &["addressType: Invalid value: \"IPv4\": field is immutable"]),
    ("resourceslices", "spec.devices.0.capacity.memory.requestPolicy", r#"{"default":"3Gi","validValues":["2Gi","1Gi"]}"#, &[
        "spec.devices[0].capacity[memory].requestPolicy.validValues[1]: Invalid value: \"1Gi\": values must be sorted in ascending order",
        "spec.devices[0].capacity[memory].requestPolicy.validValues: Invalid value: \"3Gi\": default value is not valid according to the requestPolicy",
    ]),
    ("resourceslices", "spec.devices.0.capacity.memory.requestPolicy", r#"{"default":"3Gi","validRange":{"min":"2Gi","max":"9Gi","step":"2Gi"}}"#, &[
        "spec.devices[0].capacity[memory].requestPolicy.validRange.max: Invalid value: \"9Gi\": max is larger than capacity value: 8Gi",
        "spec.devices[0].capacity[memory].requestPolicy.validRange.step: Invalid value: \"3Gi\": value is not a multiple of a given step (2Gi) from (2Gi)",
        "spec.devices[0].capacity[memory].requestPolicy.validRange.step: Invalid value: \"9Gi\": value is not a multiple of a given step (2Gi) from (2Gi)",
    ]),
    ("resourceslices", "spec.devices.0.allowMultipleAllocations", "false", &[]),
    ("resourceslices", "spec.devices.0.bindingConditions", r#"["a","a"]"#, &[
        "spec.devices[0].bindingConditions[1]: Duplicate value: \"a\"",
        "spec.devices[0].bindingFailureConditions: Invalid value: null: bindingFailureConditions are required to use bindingConditions",
    ]),
    ("~resourceslices", "spec.driver", r#""e.example.com""#, &[
        "spec.driver: Invalid value: \"e.example.com\": field is immutable",
    ]),
    // What admission is made of; certificates; flows.
    ("mutatingadmissionpolicies", "spec.matchConstraints.resourceRules.0.operations", r#"["CREATE","DELETE"]"#, &[
        "spec.matchConstraints.resourceRules.operations: Unsupported value: \"DELETE\": supported values: \"*\", \"CONNECT\", \"CREATE\", \"UPDATE\"",
    ]),
    ("mutatingadmissionpolicies", "spec.mutations.0.jsonPatch.expression", r#"" ""#, &["spec.mutations[0].jsonPatch.expression: Required value"]),
    ("validatingwebhookconfigurations", "webhooks.0.objectSelector", r#"{"matchExpressions":[{"key":"a","operator":"In","values":["-"]}]}"#, &[
        "webhooks[0].objectSelector.matchExpressions[0].values[0]: Invalid value: \"-\": a valid label*",
    ]),
    ("statefulsets", "spec.updateStrategy.rollingUpdate.maxUnavailable", "0", &[]),
    ("certificatesigningrequests", "spec.request", r#""eA==""#, &[
        "spec.request: Invalid value: \"eA==\": PEM block type must be CERTIFICATE REQUEST",
    ]),
    ("certificatesigningrequests", "spec.signerName", r#""a_.com/x.Y""#, &[
        "spec.signerName: Invalid value: \"a_.com\": validating label \"a_\": a lowercase RFC 1123 label*",
        "spec.signerName: Invalid value: \"x.Y\": validating label \"Y\": a lowercase RFC 1123 subdomain*",
    ]),
    ("flowschemas", "spec.distinguisherMethod", r#"{"type":"x"}"#, &[
        "spec.distinguisherMethod.type: Unsupported value: {\"Type\":\"x\"}: supported values: \"ByNamespace\", \"ByUser\"",
    ]),
    ("flowschemas", "metadata.name", r#""exempt""#, &[
        "spec: Invalid value: {\"PriorityLevelConfiguration\":{\"Name\":\"l\"},\"MatchingPrecedence\":5,\"DistinguisherMethod\":null,\"Rules\":null}: spec of 'exempt' must equal the fixed value",
    ]),
    ("~runtimeclasses", "overhead", r#"{"podFixed":{"cpu":"-1"}}"#, &[
        "overhead.limits[cpu]: Invalid value: \"-1\": must be greater than or equal to 0",
    ]),
];

/// Puts a value at a dotted path; nothing where it is null.
fn put(value: &mut Value, path: &str, what: Value) {
    let Some((first, rest)) = path.split_once('.').or((!path.is_empty()).then_some((path, "")))
    else {
        merge(value, what);
        return;
    };
    if let Ok(at) = first.parse::<usize>() {
        return put_in(&mut value[at], rest, what);
    }
    if rest.is_empty() && what.is_null() {
        value.as_object_mut().expect("a map").remove(first);
        return;
    }
    put_in(&mut value[first], rest, what);
}

fn put_in(value: &mut Value, rest: &str, what: Value) {
    if rest.is_empty() {
        *value = what;
    } else {
        put(value, rest, what);
    }
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

#[test]
fn rules() {
    let mut wrong = Vec::new();
    for (kind, path, what, wanted) in ROWS {
        let (how, plural) = match kind.split_once(' ') {
            Some((_, plural)) => ("status", plural),
            None => kind.strip_prefix('~').map_or(("create", *kind), |plural| ("update", plural)),
        };
        let (group, version, _, text) =
            GOOD.iter().find(|(_, _, p, _)| *p == plural).expect("a good object");
        let kind = kinds::find(group, version, plural).expect("known");
        let object = |change: bool| {
            let mut value: Value = serde_json::from_str(text).expect("JSON");
            put(&mut value, "metadata.name", "x".into());
            if kind.namespaced {
                put(&mut value, "metadata.namespace", "n".into());
            }
            if change {
                put(&mut value, path, serde_json::from_str(what).expect("JSON"));
            }
            let mut object = Object::from_value(value).expect("a map");
            object.set_type(&kind.api_version(), kind.kind);
            let ty = kind.schema().expect("a type");
            let mut object = conform::decode(object, ty).expect("fits").object;
            default::apply(kind, &mut object);
            object
        };
        let mut old = object(false);
        strategy::prepare_create(kind, &mut old);
        let faults = validate::create(kind, &mut old);
        assert!(faults.is_empty(), "{plural}: {faults:?}");
        let mut new = object(true);
        let faults = match how {
            "create" => {
                strategy::prepare_create(kind, &mut new);
                validate::create(kind, &mut new)
            }
            "update" => {
                strategy::prepare_update(kind, &mut new, &old, None);
                validate::update(kind, &mut new, &mut old)
            }
            _ => {
                strategy::prepare_update(kind, &mut new, &old, Some("status"));
                validate::status_update(kind, &mut new, &mut old)
            }
        };
        let mut found: Vec<String> =
            faults.iter().map(|f| format!("{}: {}", f.field, f.message)).collect();
        found.dedup();
        let same = |(found, wanted): (&String, &&str)| match wanted.strip_suffix('*') {
            Some(start) => found.starts_with(start),
            None => found == wanted,
        };
        if found.len() != wanted.len() || !found.iter().zip(*wanted).all(same) {
            wrong.push(format!("{how} {plural} {path} = {what}: {found:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn metadata_is_looked_at_as_often_as_upstream_does() {
    for (plural, path, what, wanted) in [
        ("configmaps", "metadata.labels", r#"{"a":"-"}"#, 4),
        ("configmaps", "metadata.uid", r#""x""#, 2),
        ("limitranges", "metadata.labels", r#"{"a":"-"}"#, 3),
        ("limitranges", "metadata.uid", r#""x""#, 1),
        ("nodes", "metadata.annotations", r#"{"a b":"-"}"#, 4),
        ("persistentvolumeclaims", "metadata.finalizers", r#"["a b/c"]"#, 2),
    ] {
        let kind = kinds::find("", "v1", plural).expect("known");
        let text = GOOD.iter().find(|row| row.2 == plural).map_or("{}", |row| row.3);
        let object = |change: bool| {
            let mut value: Value = serde_json::from_str(text).expect("JSON");
            put(&mut value, "metadata.name", "x".into());
            put(&mut value, "metadata.uid", "u".into());
            if kind.namespaced {
                put(&mut value, "metadata.namespace", "n".into());
            }
            if change {
                put(&mut value, path, serde_json::from_str(what).expect("JSON"));
            }
            let mut object = Object::from_value(value).expect("a map");
            default::apply(kind, &mut object);
            object
        };
        let faults = validate::update(kind, &mut object(true), &mut object(false));
        let found = faults.iter().filter(|f| f.field.starts_with(path)).count();
        assert_eq!(found, wanted, "{plural} {path}: {faults:?}");
    }
}
