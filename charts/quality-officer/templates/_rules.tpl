{{- /*
What the operator may do; the one place that says so. No Secrets, no exec, no wildcards. Guarded Deployments are read and
patched; what is made and deleted are only the shadows of recovery drills.
*/ -}}
{{- define "quality-officer.rules" -}}
- apiGroups: [quality-officer.dev]
  resources: [qualitypolicies]
  verbs: [get, list, watch]
- apiGroups: [quality-officer.dev]
  resources: [rollbackcheckpoints]
  verbs: [get, list, watch, create, delete]
# Scheduled drills are made, old records are pruned.
- apiGroups: [quality-officer.dev]
  resources: [recoverydrills]
  verbs: [get, list, watch, create, delete]
- apiGroups: [quality-officer.dev]
  resources: [qualityincidents, qualityreports]
  verbs: [list, watch, create]
# Snapshots of reports are listed and deleted to keep as many as the policy says.
- apiGroups: [quality-officer.dev]
  resources: [qualityreportsnapshots]
  verbs: [list, create, delete]
- apiGroups: [quality-officer.dev]
  resources: [qualitypolicies/status, rollbackcheckpoints/status, qualityincidents/status, qualityreports/status, recoverydrills/status]
  verbs: [update]
# A stored policy that does not decode cannot be sent back whole: its status is patched.
- apiGroups: [quality-officer.dev]
  resources: [qualitypolicies/status]
  verbs: [patch]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, patch]
{{- if .Values.rbac.shadowDrills }}
# A drill rehearses on a shadow, a Deployment of one pod beside the guarded one, made for it and deleted after it (by
# UID). RBAC cannot say "only shadows" for a name that does not exist yet.
- apiGroups: [apps]
  resources: [deployments]
  verbs: [create, delete]
{{- end }}
- apiGroups: [apps]
  resources: [replicasets]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
# Whether a namespace is marked as staging: a drill in place is refused anywhere else.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
# Listed for the postmortem of a rollback: what happened to pods and nodes at the same time.
- apiGroups: [""]
  resources: [events]
  verbs: [create, list]
{{- end }}
