//! The kubeconfig file of an identity: server, authority, client certificate, all embedded.
//!
//! Not here: how clients read it (`client`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::authority::Issued;

/// A kubeconfig as YAML. `server` is a URL; `user` names the context's user.
pub fn render(server: &str, authority_pem: &str, user: &str, issued: &Issued) -> String {
    // JSON strings are valid YAML scalars, whatever is in them.
    let text = |s: &str| serde_json::Value::from(s).to_string();
    let (server, user) = (text(server), text(user));
    let [ca, cert, key] =
        [authority_pem, &issued.cert, &issued.key].map(|pem| STANDARD.encode(pem.as_bytes()));
    format!(
        "apiVersion: v1\nkind: Config\n\
         clusters:\n- name: isopod\n  cluster:\n    server: {server}\n    certificate-authority-data: {ca}\n\
         users:\n- name: {user}\n  user:\n    client-certificate-data: {cert}\n    client-key-data: {key}\n\
         contexts:\n- name: isopod\n  context:\n    cluster: isopod\n    user: {user}\n\
         current-context: isopod\n"
    )
}
