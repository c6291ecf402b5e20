# Only when it is taken away; an upgrade stops nothing.
if [ "$1" -eq 0 ]; then
    if [ -d /run/systemd/system ]; then
        systemctl --no-reload disable --now mcsup.service >/dev/null 2>&1 || :
    fi
    if [ -S /run/mcsup/mcsup.sock ]; then
        /usr/bin/mcsup shutdown --timeout 5m >/dev/null || :
    fi
fi
