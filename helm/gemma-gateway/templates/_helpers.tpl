{{- define "gg.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- /* Short, since an engine's name of up to 20 letters follows and StatefulSets may have 52. */ -}}
{{- define "gg.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 26 | trimSuffix "-" -}}
{{- else if contains (include "gg.name" .) .Release.Name -}}
{{- .Release.Name | trunc 26 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "gg.name" .) | trunc 26 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- /* What a selector may hold: it never changes. Call with (list $ component). */ -}}
{{- define "gg.selector" -}}
app.kubernetes.io/name: {{ include "gg.name" (first .) }}
app.kubernetes.io/instance: {{ (first .).Release.Name }}
app.kubernetes.io/component: {{ last . }}
{{- end }}

{{- define "gg.labels" -}}
{{ include "gg.selector" . }}
app.kubernetes.io/part-of: {{ (first .).Chart.Name }}
app.kubernetes.io/version: {{ (first .).Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ (first .).Release.Service }}
helm.sh/chart: {{ printf "%s-%s" (first .).Chart.Name ((first .).Chart.Version | replace "+" "_") }}
{{- end }}

{{- /* An image's name, from the mirror where there is one. Call with (list $ image). */ -}}
{{- define "gg.image" -}}
{{- $mirror := (first .).Values.global.imageRegistry -}}
{{- $image := last . -}}
{{- $tag := $image.tag | default (first .).Chart.AppVersion -}}
{{- with $mirror }}{{ trimSuffix "/" . }}/{{ end -}}
{{- $image.repository -}}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $tag }}{{ end -}}
{{- end }}

{{- /* Not empty where Gemma runs in the gateway's own pod. */ -}}
{{- define "gg.inProcess" -}}
{{- if kindIs "bool" .Values.inProcess -}}
{{- if .Values.inProcess }}true{{ end -}}
{{- else if not (or .Values.engines (include "gg.config" . | fromYaml).models) -}}
true
{{- end -}}
{{- end }}

{{- /* What holds for the gateway's pods where values leave it empty, by where the model runs. In the pod
itself it is prepared, or downloaded, before the gateway listens; and vLLM starts a thread for each CPU
that it sees, so that a limit of CPUs would only have them wait for each other. */ -}}
{{- define "gg.pods" -}}
{{- if include "gg.inProcess" . -}}
repository: gemma-gateway-engine
replicas: 1
resources: {requests: {cpu: "1", memory: 3Gi}, limits: {memory: 8Gi}}
startupSeconds: 1800
{{- else -}}
repository: gemma-gateway
replicas: 2
resources: {requests: {cpu: 500m, memory: 256Mi}, limits: {cpu: "2", memory: 768Mi}}
startupSeconds: 120
{{- end -}}
{{- end }}

{{- define "gg.replicas" -}}
{{ .Values.replicaCount | default (include "gg.pods" . | fromYaml).replicas | int }}
{{- end }}

{{- define "gg.gatewayImage" -}}
{{- $repository := .Values.image.repository | default (include "gg.pods" . | fromYaml).repository -}}
{{- include "gg.image" (list . (merge (dict "repository" $repository) .Values.image)) -}}
{{- end }}

{{- define "gg.pullSecrets" -}}
{{- with .Values.global.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* The pod's security context for one user and group number. */ -}}
{{- define "gg.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "gg.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "gg.account" -}}
{{- .Values.serviceAccount.name | default (ternary (include "gg.fullname" .) "default" .Values.serviceAccount.create) -}}
{{- end }}

{{- define "gg.engineAccount" -}}
{{- .Values.serviceAccount.engineName | default (ternary (printf "%s-engine" (include "gg.fullname" .)) "default" .Values.serviceAccount.create) -}}
{{- end }}

{{- define "gg.externalSecret" -}}
{{ include "gg.fullname" . }}-external
{{- end }}

{{- /* A secretKeyRef. Call with (list $ reference name-in-the-external-store key-there). */ -}}
{{- define "gg.secretKey" -}}
{{- $root := index . 0 -}}
{{- $reference := index . 1 -}}
{{- if $reference.existingSecret -}}
{name: {{ $reference.existingSecret }}, key: {{ $reference.key }}}
{{- else if and $root.Values.externalSecrets.enabled (index . 2) -}}
{name: {{ include "gg.externalSecret" $root }}, key: {{ index . 3 }}}
{{- end -}}
{{- end }}

{{- define "gg.apiKeys" -}}
{{ include "gg.secretKey" (list . .Values.apiKeys .Values.externalSecrets.apiKeys "api-keys") }}
{{- end }}

{{- define "gg.operatorKeys" -}}
{{- if include "gg.generatedKey" . -}}
{name: {{ include "gg.generatedKey" . }}, key: key}
{{- else -}}
{{ include "gg.givenOperatorKeys" . }}
{{- end -}}
{{- end }}

{{- define "gg.givenOperatorKeys" -}}
{{ include "gg.secretKey" (list . .Values.operatorKeys .Values.externalSecrets.operatorKeys "operator-keys") }}
{{- end }}

{{- /* Name of the Secret with a key of the chart's own making; empty where keys are given. */ -}}
{{- define "gg.generatedKey" -}}
{{- if not (or (include "gg.config" . | fromYaml).keys (include "gg.apiKeys" . | trim) (include "gg.givenOperatorKeys" . | trim)) -}}
{{ include "gg.fullname" . }}-key
{{- end -}}
{{- end }}

{{- define "gg.alertWebhooks" -}}
{{ include "gg.secretKey" (list . .Values.alertWebhooks .Values.externalSecrets.alertWebhooks "alert-webhooks") }}
{{- end }}

{{- define "gg.upstreamApiKey" -}}
{{ include "gg.secretKey" (list . .Values.upstreamApiKey .Values.externalSecrets.upstreamApiKey "upstream-api-key") }}
{{- end }}

{{- /* What the NetworkPolicy opens for an external Redis, as a list. */ -}}
{{- define "gg.redisPorts" -}}
{{- $r := .Values.redis.external -}}
- {port: {{ $r.port }}, protocol: TCP}
{{- range $r.nodePorts }}
- {port: {{ .port }}, {{ with .endPort }}endPort: {{ . }}, {{ end }}protocol: TCP}
{{- end }}
{{- if eq $r.type "sentinel" }}
- {port: {{ $r.sentinel.port }}, protocol: TCP}
{{- end }}
{{- end }}

{{- /* config as YAML, with each setting by itself: it may also stand within its section. */ -}}
{{- define "gg.config" -}}
{{- $config := .Values.config -}}
{{- range $section := list "server" "access" "limits" "store" "validation" "media" "safety" "engine" "monitoring" "telemetry" "quality" "prompts" -}}
{{- $inner := get $config $section -}}
{{- if kindIs "map" $inner -}}
{{- $config = merge (omit $config $section) $inner -}}
{{- end -}}
{{- end -}}
{{- toYaml $config -}}
{{- end }}

{{- /* What the chart itself sets in gateway.yaml. Where models are listed, they name their servers. */ -}}
{{- define "gg.ownConfig" -}}
{{- include "gg.check" . -}}
{{- $own := dict "host" "::" "port" 8000 "data_dir" "/data" "drain_seconds" .Values.drain.seconds -}}
{{- $upstreams := list -}}
{{- range $engine := .Values.engines -}}
{{- $upstreams = concat $upstreams (splitList "\n" (include "gg.upstreams" (list $ $engine) | trim)) -}}
{{- end -}}
{{- if and $upstreams (not (include "gg.config" . | fromYaml).models) -}}
{{- $_ := set $own "upstreams" $upstreams -}}
{{- end -}}
{{- if .Values.policy }}{{- $_ := set $own "policy_file" "/etc/gateway/policy.yaml" }}{{- end -}}
{{- if .Values.prompts }}{{- $_ := set $own "prompts_file" "/etc/gateway/prompts.yaml" }}{{- end -}}
{{- toYaml $own -}}
{{- end }}

{{- /* What a pod must be started anew for: all of its configuration, but for the models and presets it lists. */ -}}
{{- define "gg.fixedConfig" -}}
{{- $config := include "gg.config" . | fromYaml -}}
{{- list (include "gg.ownConfig" .) (omit $config "models") .Values.policy (empty $config.models) | toJson -}}
{{- end }}

{{- /* Not empty where engines ask for a Google identity. */ -}}
{{- define "gg.google" -}}
{{- $config := include "gg.config" . | fromYaml -}}
{{- if eq ($config.upstream_credentials | default "key") "google" }}true{{ end -}}
{{- range $config.models }}{{ if eq (.credentials | default "key") "google" }}true{{ end }}{{ end -}}
{{- end }}

{{- /* Ports of the servers that config.models names, as a JSON list. */ -}}
{{- define "gg.modelPorts" -}}
{{- $ports := list -}}
{{- range $model := (include "gg.config" . | fromYaml).models -}}
{{- range $url := splitList "," (join "," $model.upstreams) | compact -}}
{{- $parts := urlParse (trim $url) -}}
{{- $default := ternary "443" "80" (hasSuffix "https" $parts.scheme) -}}
{{- $ports = append $ports (regexFind "[0-9]+$" (regexFind ":[0-9]+$" $parts.host) | default $default) -}}
{{- end -}}
{{- end -}}
{{- $ports | uniq | sortAlpha | toJson -}}
{{- end }}

{{- /* Seconds after which a balancer gives up: later than the gateway, which tells clients why. */ -}}
{{- define "gg.balancerTimeout" -}}
{{ add ((include "gg.config" . | fromYaml).request_timeout | default 600 | float64 | ceil | int) 30 }}
{{- end }}

{{- /* An engine's entry over the defaults, as YAML. Call with (list $ entry). */ -}}
{{- define "gg.engine" -}}
{{- mustMergeOverwrite (deepCopy (first .).Values.engineDefaults) (deepCopy (last .)) | toYaml -}}
{{- end }}

{{- define "gg.engineName" -}}
{{ include "gg.fullname" (first .) }}-{{ (last .).name }}
{{- end }}

{{- /* Base URLs of an engine's servers, one a line. Each vLLM pod is an upstream of its own, so that
the gateway sees which of them fails and keeps a prefix on the server that has it cached. */ -}}
{{- define "gg.upstreams" -}}
{{- $root := first . -}}
{{- $engine := include "gg.engine" . | fromYaml -}}
{{- $name := include "gg.engineName" . -}}
{{- if has $engine.type (list "external" "inferencePool") -}}
{{ $engine.url | trimSuffix "/" }}
{{- else if eq $engine.type "ray" -}}
http://{{ $name }}-serve-svc.{{ $root.Release.Namespace }}.svc:8000/v1
{{- else if eq $engine.type "vllm" -}}
dns+http://{{ $name }}.{{ $root.Release.Namespace }}.svc:8000/v1
{{- else -}}
{{- range $i := until ($engine.replicas | int) }}
http://{{ $name }}-{{ $i }}.{{ $name }}.{{ $root.Release.Namespace }}.svc:8000/v1
{{- end }}
{{- end -}}
{{- end }}
