{{- /* Pairs of values that contradict each other, each refused with one plain sentence. */ -}}
{{- define "gg.check" -}}
{{- $v := .Values -}}
{{- if and $v.inProcess $v.engines -}}
{{- fail "inProcess serves Gemma in the gateway's own pod and engines serves it elsewhere: set one of them" -}}
{{- end -}}
{{- $config := include "gg.config" . | fromYaml -}}
{{- if not (or (include "gg.inProcess" .) $v.engines $config.models) -}}
{{- fail "nothing answers calls: list at least one entry under engines, or remove inProcess: false" -}}
{{- end -}}
{{- range $model := $config.models -}}
{{- if $model.api_key -}}
{{- fail (printf "config.models: api_key of %s is a secret and config goes into a ConfigMap: name a Secret under modelKeys, and its entry in api_key_file" $model.name) -}}
{{- end -}}
{{- if not (or $model.upstreams $v.inProcess) -}}
{{- fail (printf "config.models: %s has no upstreams: list its servers there, or set inProcess to true to serve it in the gateway's own pod" $model.name) -}}
{{- end -}}
{{- end -}}
{{- range $name := list "api_keys" "operator_keys" "redis_url" "upstream_api_key" -}}
{{- if hasKey $config $name -}}
{{- fail (printf "config.%s is a secret and config goes into a ConfigMap: name a Secret instead" $name) -}}
{{- end -}}
{{- end -}}
{{- if hasKey ($v.config.alerts | default dict) "webhooks" -}}
{{- fail "config.alerts.webhooks holds secrets and config goes into a ConfigMap: name a Secret under alertWebhooks" -}}
{{- end -}}
{{- range $name := list "host" "port" "data_dir" "drain_seconds" "upstreams" "policy_file" "prompts_file" "allow_anonymous" -}}
{{- if hasKey $config $name -}}
{{- fail (printf "config.%s is set by the chart from other values: remove it from config" $name) -}}
{{- end -}}
{{- end -}}
{{- if and $v.autoscaling.enabled (gt ($v.autoscaling.minReplicas | int) ($v.autoscaling.maxReplicas | int)) -}}
{{- fail "autoscaling.minReplicas is above autoscaling.maxReplicas" -}}
{{- end -}}
{{- if and $v.ingress.enabled $v.httpRoute.enabled -}}
{{- fail "ingress and httpRoute both lead to the gateway: enable one of them" -}}
{{- end -}}
{{- if and $v.ingress.enabled (not $v.ingress.host) -}}
{{- fail "ingress.enabled needs ingress.host" -}}
{{- end -}}
{{- if and $v.httpRoute.enabled (not $v.httpRoute.parentRefs) -}}
{{- fail "httpRoute.enabled needs httpRoute.parentRefs, the Gateway that the route joins" -}}
{{- end -}}
{{- if and $v.externalSecrets.enabled (not $v.externalSecrets.storeName) -}}
{{- fail "externalSecrets.enabled needs externalSecrets.storeName" -}}
{{- end -}}
{{- if eq $v.redis.mode "external" -}}
{{- $r := $v.redis.external -}}
{{- $url := include "gg.secretKey" (list . $r $v.externalSecrets.redisUrl "redis-url") -}}
{{- $parts := or $r.host $r.hosts -}}
{{- if and $url $parts -}}
{{- fail "redis.external: the whole URL comes from a Secret and host or hosts give its parts: set one of them" -}}
{{- end -}}
{{- if not (or $url $parts) -}}
{{- fail "redis.mode external needs redis.external.existingSecret with the URL, or redis.external.host or hosts" -}}
{{- end -}}
{{- if and (eq $r.type "endpoint") $r.hosts -}}
{{- fail "redis.external.hosts is for the types cluster and sentinel: set redis.external.type, or host for one endpoint" -}}
{{- end -}}
{{- if and (ne $r.type "endpoint") $r.host -}}
{{- fail (printf "redis.external.host is for the type endpoint: type %s needs hosts" $r.type) -}}
{{- end -}}
{{- if and (eq $r.type "cluster") ($r.database | int) -}}
{{- fail "redis.external.database: a Redis Cluster has only database 0" -}}
{{- end -}}
{{- if and (ne $r.type "cluster") $r.nodePorts -}}
{{- fail "redis.external.nodePorts is for the type cluster" -}}
{{- end -}}
{{- $s := $r.sentinel -}}
{{- if and (or (ne $r.type "sentinel") $url) (or $s.master $s.username $s.passwordSecret) -}}
{{- fail "redis.external.sentinel is for the type sentinel and a URL made of parts: where the URL comes from a Secret, write them there" -}}
{{- end -}}
{{- if and (eq $r.type "sentinel") $parts (not $s.master) -}}
{{- fail "redis.external.type sentinel needs redis.external.sentinel.master" -}}
{{- end -}}
{{- if and $s.username (not $s.passwordSecret) -}}
{{- fail "redis.external.sentinel.username needs redis.external.sentinel.passwordSecret" -}}
{{- end -}}
{{- if and $url $r.tls.enabled -}}
{{- fail "redis.external.tls.enabled is for a URL made of parts: where the URL comes from a Secret, write rediss:// there" -}}
{{- end -}}
{{- if and $parts $r.tls.caSecret (not $r.tls.enabled) -}}
{{- fail "redis.external.tls.caSecret without redis.external.tls.enabled: the connection would be in the clear" -}}
{{- end -}}
{{- if and $r.username (not $r.passwordSecret) -}}
{{- fail "redis.external.username needs redis.external.passwordSecret" -}}
{{- end -}}
{{- end -}}
{{- $names := dict -}}
{{- range $entry := $v.engines -}}
{{- $e := include "gg.engine" (list $ $entry) | fromYaml -}}
{{- $at := printf "engines.%s" $e.name -}}
{{- if hasKey $names $e.name -}}{{- fail (printf "%s: two engines have this name" $at) -}}{{- end -}}
{{- $_ := set $names $e.name true -}}
{{- if and (has $e.type (list "external" "inferencePool")) (not $e.url) -}}
{{- fail (printf "%s: type %s needs url, a base URL that ends in /v1" $at $e.type) -}}
{{- end -}}
{{- if and (not (has $e.type (list "external" "inferencePool"))) $e.url -}}
{{- fail (printf "%s: url is for the types external and inferencePool; the chart knows where its own %s is" $at $e.type) -}}
{{- end -}}
{{- if and (ne $e.type "external") (not $e.model) -}}
{{- fail (printf "%s: type %s needs model" $at $e.type) -}}
{{- end -}}
{{- if and (eq $e.type "inferencePool") (not $e.pool.parentRefs) -}}
{{- fail (printf "%s: type inferencePool needs pool.parentRefs, the inference Gateway that the route joins" $at) -}}
{{- end -}}
{{- if and (eq $e.cache.type "claim") (not $e.cache.claim) -}}
{{- fail (printf "%s: cache.type claim needs cache.claim" $at) -}}
{{- end -}}
{{- if and (eq $e.cache.type "gcsFuse") (not $e.cache.bucket) -}}
{{- fail (printf "%s: cache.type gcsFuse needs cache.bucket" $at) -}}
{{- end -}}
{{- if and (has $e.type (list "ray" "leaderWorkerSet")) (eq $e.cache.type "pvc") -}}
{{- fail (printf "%s: cache.type pvc makes a disk for each pod of a StatefulSet; type %s needs emptyDir, claim or gcsFuse" $at $e.type) -}}
{{- end -}}
{{- if and (has $e.type (list "ray" "leaderWorkerSet")) (ne $e.autoscaling.type "none") -}}
{{- fail (printf "%s: autoscaling is for the types vllm and inferencePool" $at) -}}
{{- end -}}
{{- if and (eq $e.type "ray") (gt (len (include "gg.engineName" (list $ $e))) 41) -}}
{{- fail (printf "%s: KubeRay takes names of up to 41 letters and %s is longer: shorten the engine's or the release's name" $at (include "gg.engineName" (list $ $e))) -}}
{{- end -}}
{{- if and (ne $e.autoscaling.type "none") (gt ($e.autoscaling.minReplicas | int) ($e.autoscaling.maxReplicas | int)) -}}
{{- fail (printf "%s: autoscaling.minReplicas is above autoscaling.maxReplicas" $at) -}}
{{- end -}}
{{- end -}}
{{- end }}
