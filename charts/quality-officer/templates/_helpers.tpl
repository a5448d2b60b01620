{{- define "quality-officer.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "quality-officer.fullname" -}}
{{- $name := include "quality-officer.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "quality-officer.selector" -}}
app.kubernetes.io/name: {{ include "quality-officer.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "quality-officer.labels" -}}
{{ include "quality-officer.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "quality-officer.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "quality-officer.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.name: name the ServiceAccount that exists, or let the chart create one" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "quality-officer.image" -}}
{{- $repository := required "image.repository is not set: push the image that `make release` makes to a registry of yours, and name it without its tag" .Values.image.repository }}
{{- if .Values.image.digest }}
{{- printf "%s@%s" $repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" $repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{- /* A file that is copied into the chart from its place in the repository; its absence is said, not rendered as nothing. */ -}}
{{- define "quality-officer.file" -}}
{{- $text := .context.Files.Get .path }}
{{- if not $text }}
{{- fail (printf "%s: this build of the chart has no %s" .switch .path) }}
{{- end }}
{{- $text }}
{{- end }}
