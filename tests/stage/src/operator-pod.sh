# The container of the operator's pod, on a node that has no containers: its file comes from the ConfigMap that the pod would
# mount, its rights from its ServiceAccount, its port from the node. $WORK, $OFFICER, $PATH and an administrator's $KUBECONFIG
# are set above.
set -eu
pod() {
  kubectl get pods --all-namespaces --field-selector "metadata.name=$HOSTNAME" --output "jsonpath={.items[0]$1}"
}
namespace=$(pod .metadata.namespace)
folder=$WORK/$HOSTNAME
mkdir -p "$folder"
map=$(pod '.spec.volumes[?(@.name=="config")].configMap.name')
kubectl get configmap "$map" --namespace "$namespace" --output 'jsonpath={.data.config\.yaml}' >"$folder/config.yaml"
token=$(kubectl create token "$(pod .spec.serviceAccountName)" --namespace "$namespace" --duration 8h)
kubectl config view --raw --minify --flatten >"$folder/kubeconfig"
export KUBECONFIG=$folder/kubeconfig
kubectl config set-credentials operator --token "$token" >/dev/null
kubectl config set-context --current --user operator --namespace "$namespace" >/dev/null
rest=$#
while [ "$rest" -gt 0 ]; do
  case $1 in
    --config=*) set -- "$@" "--config=$folder/config.yaml" ;;
    --listen=*) ;;
    --port)
      set -- "$@" "--listen=127.0.0.1:$2"
      shift
      rest=$((rest - 1))
      ;;
    *) set -- "$@" "$1" ;;
  esac
  shift
  rest=$((rest - 1))
done
exec "$OFFICER" "$@"
