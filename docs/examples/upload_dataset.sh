#!/usr/bin/env bash
# Uploads every file of a directory, and goes on where it was cut off when it is run again.
#
#     ./upload_dataset.sh http://localhost:8080/files/ dataset/
#
# Needs bash and curl. The URL of each upload is kept beside its file, as NAME.upload.
set -euo pipefail

ENDPOINT=$1
DIRECTORY=${2%/}
TUS='Tus-Resumable: 1.0.0'

field() { # NAME: the value of a response field on standard input
    tr -d '\r' | sed -n "s/^$1: //Ip" | tail -n 1
}

create() { # FILE
    local name
    name=$(basename "$1" | tr -d '\n' | base64 | tr -d '\n')
    curl --fail --silent --show-error --dump-header - --output /dev/null --request POST "$ENDPOINT" \
        --header "$TUS" --header "Upload-Length: $(wc -c <"$1" | tr -d ' ')" \
        --header "Upload-Metadata: filename $name" | field Location
}

offset() { # URL: nothing if the upload is not there any more
    { curl --fail --silent --retry 5 --head --header "$TUS" "$1" || true; } | field Upload-Offset
}

upload() { # FILE
    local file=$1 url='' at='' size
    size=$(wc -c <"$file" | tr -d ' ')
    [[ -s $file.upload ]] && url=$(<"$file.upload") && at=$(offset "$url")
    if [[ -z $at ]]; then
        url=$(create "$file")
        echo "$url" >"$file.upload"
        at=0
    fi
    if ((at < size)); then
        tail -c "+$((at + 1))" "$file" | curl --fail --silent --show-error --request PATCH "$url" --upload-file - \
            --header "$TUS" --header "Upload-Offset: $at" --header 'Content-Type: application/offset+octet-stream'
    fi
    echo "$file: $url"
}

find "$DIRECTORY" -type f ! -name '*.upload' | sort | while read -r file; do
    upload "$file" </dev/null
done
