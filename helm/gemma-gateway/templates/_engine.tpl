{{- /* Selector of one engine's pods. Call with (list $ engine). */ -}}
{{- define "gg.engineSelector" -}}
{{ include "gg.selector" (list (first .) "engine") }}
gemma-gateway/engine: {{ (last .).name }}
{{- end }}

{{- define "gg.engineLabels" -}}
{{ include "gg.labels" (list (first .) "engine") }}
gemma-gateway/engine: {{ (last .).name }}
{{- end }}

{{- /* What every vLLM process is told; further arguments by the kind of its pod. */ -}}
{{- define "gg.vllmArgs" -}}
{{- $e := last . -}}
- {{ $e.model | quote }}
- --served-model-name={{ $e.servedName | default $e.model }}
- --host=0.0.0.0
- --port=8000
- --max-model-len={{ $e.maxModelLen }}
- --tensor-parallel-size={{ $e.gpus }}
- --shutdown-timeout={{ $e.drainSeconds }}
{{- range $e.args }}
- {{ . | quote }}
{{- end }}
{{- end }}

{{- define "gg.engineEnv" -}}
{{- $root := first . -}}
{{- $e := last . -}}
- {name: HOME, value: /cache}
# A user without an entry in /etc/passwd: PyTorch asks for its name.
- {name: USER, value: engine}
- {name: HF_HOME, value: /cache/huggingface}
- {name: XDG_CACHE_HOME, value: /cache}
- {name: VLLM_CACHE_ROOT, value: /cache/vllm}
- {name: TRITON_CACHE_DIR, value: /cache/triton}
- {name: TORCHINDUCTOR_CACHE_DIR, value: /cache/inductor}
- {name: VLLM_NO_USAGE_STATS, value: "1"}
{{- with include "gg.secretKey" (list $root $e.hfToken $root.Values.externalSecrets.hfToken "hf-token") | trim }}
- name: HF_TOKEN
  valueFrom: {secretKeyRef: {{ . }}}
{{- end }}
{{- with include "gg.upstreamApiKey" $root | trim }}
- name: VLLM_API_KEY
  valueFrom: {secretKeyRef: {{ . }}}
{{- end }}
{{- end }}

{{- define "gg.engineResources" -}}
{{- $e := last . -}}
{{- mergeOverwrite (deepCopy $e.resources) (dict "limits" (dict "nvidia.com/gpu" $e.gpus)) | toYaml -}}
{{- end }}

{{- define "gg.engineMounts" -}}
{{- $e := last . -}}
- {name: cache, mountPath: /cache}
- {name: shm, mountPath: /dev/shm}
- {name: tmp, mountPath: /tmp}
{{- if or (eq $e.cache.type "gcsFuse") (and (eq $e.cache.type "claim") $e.cache.readOnly) }}
- {name: models, mountPath: /models, readOnly: true}
{{- end }}
{{- end }}

{{- /* A read-only store of weights is at /models, beside a small writable /cache. */ -}}
{{- define "gg.engineVolumes" -}}
{{- $e := last . -}}
- name: shm
  emptyDir: {medium: Memory, sizeLimit: {{ $e.sharedMemory }}}
- name: tmp
  emptyDir: {sizeLimit: 2Gi}
{{- if eq $e.cache.type "emptyDir" }}
- name: cache
  emptyDir: {sizeLimit: {{ $e.cache.size }}}
{{- else if eq $e.cache.type "gcsFuse" }}
- name: cache
  emptyDir: {sizeLimit: 10Gi}
- name: models
  csi:
    driver: gcsfuse.csi.storage.gke.io
    readOnly: true
    volumeAttributes: {bucketName: {{ $e.cache.bucket }}, mountOptions: implicit-dirs}
{{- else if and (eq $e.cache.type "claim") $e.cache.readOnly }}
- name: cache
  emptyDir: {sizeLimit: 10Gi}
- name: models
  persistentVolumeClaim: {claimName: {{ $e.cache.claim }}, readOnly: true}
{{- else if eq $e.cache.type "claim" }}
- name: cache
  persistentVolumeClaim: {claimName: {{ $e.cache.claim }}}
{{- end }}
{{- end }}

{{- define "gg.enginePod" -}}
{{- $root := first . -}}
{{- $e := last . -}}
{{- include "gg.pullSecrets" $root }}
serviceAccountName: {{ include "gg.engineAccount" $root }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with $e.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $e.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
volumes: {{- include "gg.engineVolumes" . | nindent 2 }}
{{- end }}

{{- define "gg.engineAnnotations" -}}
{{- if eq (last .).cache.type "gcsFuse" }}
annotations: {gke-gcsfuse/volumes: "true"}
{{- end }}
{{- end }}

{{- define "gg.engineProbes" -}}
startupProbe:
  httpGet: {path: /health, port: http}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: {{ div (add (.startupSeconds | int) 9) 10 }}
livenessProbe:
  httpGet: {path: /health, port: http}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /health, port: http}
  periodSeconds: 5
  timeoutSeconds: 5
lifecycle:
  preStop: {sleep: {seconds: 5}}
{{- end }}

{{- /* preStop, vLLM's own drain, and some seconds to free the GPU */ -}}
{{- define "gg.engineGrace" -}}
{{ add 5 (.drainSeconds | int) 15 }}
{{- end }}
