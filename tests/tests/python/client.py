"""The Python client against one API server, given by $KUBECONFIG: typed and dynamic clients, patches,
apply, chunked lists, watches from a version, collections, and errors.

Says "ok NAME" for each check; the first that fails ends it with a traceback.
"""

import threading

from kubernetes import client, config, dynamic, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic.exceptions import ConflictError, NotFoundError

NS = "default"


def config_map(name, labels=None, **data):
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name, labels=labels), data=data)


def fails(status, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except ApiException as error:
        assert error.status == status, error
        return error
    raise AssertionError(f"{call} succeeded")


def objects(core):
    made = core.create_namespaced_config_map(NS, config_map("one", a="1"))
    assert made.metadata.uid and made.metadata.resource_version
    error = fails(409, core.create_namespaced_config_map, NS, config_map("one"))
    assert '"reason":"AlreadyExists"' in error.body, error.body
    fails(422, core.create_namespaced_config_map, NS, config_map("Not_A_Name"))
    fails(404, core.read_namespaced_config_map, "nobody", NS)
    made.data["b"] = "2"
    newer = core.replace_namespaced_config_map("one", NS, made)
    assert newer.data == {"a": "1", "b": "2"}
    fails(409, core.replace_namespaced_config_map, "one", NS, made)
    core.delete_namespaced_config_map("one", NS)
    fails(404, core.read_namespaced_config_map, "one", NS)


def patches(core):
    core.create_namespaced_config_map(NS, config_map("patched", a="1"))
    merged = core.patch_namespaced_config_map("patched", NS, {"data": {"a": None, "b": "2"}})
    assert merged.data == {"b": "2"}, merged.data
    steps = [{"op": "add", "path": "/data/c", "value": "3"}]
    stepped = core.patch_namespaced_config_map("patched", NS, steps)
    assert stepped.data == {"b": "2", "c": "3"}, stepped.data


def chunks(core):
    for i in range(12):
        core.create_namespaced_config_map(NS, config_map(f"chunk-{i:02}", labels={"in": "chunks"}))
    names, token = [], None
    while True:
        page = core.list_namespaced_config_map(NS, label_selector="in=chunks", limit=5, _continue=token)
        names += [item.metadata.name for item in page.items]
        token = page.metadata._continue
        if not token:
            break
    assert names == [f"chunk-{i:02}" for i in range(12)], names
    core.delete_collection_namespaced_config_map(NS, label_selector="in=chunks")
    left = core.list_namespaced_config_map(NS, label_selector="in=chunks")
    assert not left.items


def watches(core):
    start = core.list_namespaced_config_map(NS).metadata.resource_version
    seen = []

    def follow():
        stream = watch.Watch().stream(
            core.list_namespaced_config_map, NS, resource_version=start, timeout_seconds=60,
            field_selector="metadata.name=watched")
        for event in stream:
            seen.append((event["type"], event["object"].metadata.name))
            if event["type"] == "DELETED":
                return

    follower = threading.Thread(target=follow)
    follower.start()
    core.create_namespaced_config_map(NS, config_map("watched", a="1"))
    core.create_namespaced_config_map(NS, config_map("not-watched"))
    core.patch_namespaced_config_map("watched", NS, {"data": {"a": "2"}})
    core.delete_namespaced_config_map("watched", NS)
    follower.join(60)
    assert not follower.is_alive(), "the watch does not end"
    assert [kind for kind, _ in seen] == ["ADDED", "MODIFIED", "DELETED"], seen


def dynamic_client(api):
    dyn = dynamic.DynamicClient(api)
    deployments = dyn.resources.get(api_version="apps/v1", kind="Deployment")
    body = {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": "a"}]}}}}
    made = deployments.server_side_apply(body=body, namespace=NS, field_manager="ours")
    assert made.spec.strategy.type == "RollingUpdate"
    body["spec"]["replicas"] = 3
    try:
        deployments.server_side_apply(body=body, namespace=NS, field_manager="theirs")
        raise AssertionError("no conflict")
    except ConflictError as error:
        assert 'conflict with \\"ours\\"' in str(error.body), error.body
    forced = deployments.server_side_apply(
        body=body, namespace=NS, field_manager="theirs", force_conflicts=True)
    assert forced.spec.replicas == 3
    scaled = deployments.scale.patch(
        name="web", namespace=NS, body={"spec": {"replicas": 1}},
        content_type="application/merge-patch+json")
    assert scaled.spec.replicas == 1
    deployments.delete(name="web", namespace=NS)
    try:
        deployments.get(name="web", namespace=NS)
        raise AssertionError("still there")
    except NotFoundError:
        pass


def reviews(api):
    review = client.V1SelfSubjectAccessReview(spec=client.V1SelfSubjectAccessReviewSpec(
        resource_attributes=client.V1ResourceAttributes(verb="delete", resource="nodes")))
    answer = client.AuthorizationV1Api(api).create_self_subject_access_review(review)
    assert answer.status.allowed is True
    rbac = client.RbacAuthorizationV1Api(api)
    assert any(role.metadata.name == "cluster-admin" for role in rbac.list_cluster_role().items)
    versions = [group.name for group in client.ApisApi(api).get_api_versions().groups]
    assert "apps" in versions and "batch" in versions, versions


def main():
    config.load_kube_config()
    api = client.ApiClient()
    core = client.CoreV1Api(api)
    checks = [(objects, core), (patches, core), (chunks, core), (watches, core),
              (dynamic_client, api), (reviews, api)]
    for check, subject in checks:
        check(subject)
        print("ok", check.__name__, flush=True)


main()
