//! How long a pod of 2.5 KB takes through the codecs: `cargo run --release --example codec_speed`.

use std::hint::black_box;
use std::time::Instant;

use isopod_api::codec::{json, proto};
use isopod_api::kinds;

// The allocator of the program itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn time(what: &str, mut run: impl FnMut()) {
    let rounds = 20_000;
    for _ in 0..rounds / 10 {
        run();
    }
    let start = Instant::now();
    for _ in 0..rounds {
        run();
    }
    println!("{what:32} {:6.2} µs", start.elapsed().as_secs_f64() * 1e6 / f64::from(rounds));
}

fn main() {
    let start = Instant::now();
    let ty = kinds::find("", "v1", "pods").and_then(|kind| kind.schema()).expect("pods");
    println!("{:32} {:6.2} µs", "first look into the tables", start.elapsed().as_secs_f64() * 1e6);
    let text = POD.as_bytes();
    println!("{} bytes", text.len());
    let decoded = json::decode(text, Some(ty)).expect("a pod");
    assert!(decoded.strict.is_empty(), "{:?}", decoded.strict);
    let wire = proto::encode(&decoded.object, ty).expect("protobuf");
    time("decode JSON by schema", || drop(black_box(json::decode(black_box(text), Some(ty)))));
    time("decode JSON without", || drop(black_box(json::decode(black_box(text), None))));
    time("serde_json to a value", || {
        drop(black_box(serde_json::from_slice::<serde_json::Value>(black_box(text))));
    });
    time("encode for the store", || {
        drop(black_box(json::encode_for_store(black_box(&decoded.object))));
    });
    time("decode protobuf", || drop(black_box(proto::decode(black_box(&wire)))));
    time("encode protobuf", || drop(black_box(proto::encode(black_box(&decoded.object), ty))));
}

const POD: &str = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web-7d9c5b8f6d-x2x7k","generateName":"web-7d9c5b8f6d-","namespace":"default","uid":"5f6a3f3e-9c68-4f0a-8f0a-0d6f9d0f4b11","resourceVersion":"123456","creationTimestamp":"2024-05-01T10:11:12Z","labels":{"app":"web","pod-template-hash":"7d9c5b8f6d","tier":"frontend"},"annotations":{"prometheus.io/scrape":"true","prometheus.io/port":"8080"},"ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"web-7d9c5b8f6d","uid":"0a1b2c3d-1111-2222-3333-444455556666","controller":true,"blockOwnerDeletion":true}]},"spec":{"volumes":[{"name":"config","configMap":{"name":"web-config","defaultMode":420}},{"name":"kube-api-access-abcde","projected":{"sources":[{"serviceAccountToken":{"expirationSeconds":3607,"path":"token"}},{"configMap":{"name":"kube-root-ca.crt","items":[{"key":"ca.crt","path":"ca.crt"}]}},{"downwardAPI":{"items":[{"path":"namespace","fieldRef":{"apiVersion":"v1","fieldPath":"metadata.namespace"}}]}}],"defaultMode":420}}],"containers":[{"name":"web","image":"registry.example.com/web:1.2.3","args":["--port=8080","--verbose"],"ports":[{"name":"http","containerPort":8080,"protocol":"TCP"}],"env":[{"name":"MODE","value":"production"},{"name":"POD_NAME","valueFrom":{"fieldRef":{"apiVersion":"v1","fieldPath":"metadata.name"}}}],"resources":{"limits":{"cpu":"500m","memory":"256Mi"},"requests":{"cpu":"100m","memory":"128Mi"}},"volumeMounts":[{"name":"config","mountPath":"/etc/web"},{"name":"kube-api-access-abcde","readOnly":true,"mountPath":"/var/run/secrets/kubernetes.io/serviceaccount"}],"livenessProbe":{"httpGet":{"path":"/healthz","port":8080,"scheme":"HTTP"},"initialDelaySeconds":5,"timeoutSeconds":1,"periodSeconds":10,"successThreshold":1,"failureThreshold":3},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","imagePullPolicy":"IfNotPresent"}],"restartPolicy":"Always","terminationGracePeriodSeconds":30,"dnsPolicy":"ClusterFirst","serviceAccountName":"default","serviceAccount":"default","nodeName":"node-1","securityContext":{},"schedulerName":"default-scheduler","tolerations":[{"key":"node.kubernetes.io/not-ready","operator":"Exists","effect":"NoExecute","tolerationSeconds":300},{"key":"node.kubernetes.io/unreachable","operator":"Exists","effect":"NoExecute","tolerationSeconds":300}],"priority":0,"enableServiceLinks":true,"preemptionPolicy":"PreemptLowerPriority"},"status":{"phase":"Pending","qosClass":"Burstable"}}"#;
